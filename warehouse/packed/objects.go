package packed

import (
	"context"
	"io"
	"strings"

	"github.com/kilnbuild/kiln/warehouse"
)

// Objects keeps bytes by name: what a directory, a web server, a bucket or a registry
// can do, and all that New needs of it. A name is a ware id, or "memo:" and a step
// key. Its methods are safe for concurrent use.
type Objects interface {
	// Open begins to read an object at offset, in bytes. If the object is no longer
	// of the given version, or the place cannot read from the middle, it is read from
	// the beginning, and the Object says so; version "" stands for any. The error
	// matches warehouse.ErrMissing when there is no such object.
	Open(ctx context.Context, name string, offset int64, version string) (*Object, error)

	// Put makes an object of size bytes of body, which it may read more than once, also
	// from the middle. Nobody sees a part of it. It replaces one of the same name. The
	// error matches warehouse.ErrReadOnly when the place takes nothing.
	Put(ctx context.Context, name string, body io.ReaderAt, size int64) error

	// Stat returns what is known of an object without reading it; the error matches
	// warehouse.ErrMissing when there is none.
	Stat(ctx context.Context, name string) (Info, error)

	// String returns the place's URL, without credentials.
	String() string

	// Close ends what is open.
	Close() error
}

// Info is what is known of an object.
type Info struct {
	Size    int64  // bytes; -1: not known
	Version string // changes when the bytes do, such as an ETag; "": not known
}

// An Object is being read. Who opened it closes it.
type Object struct {
	io.ReadCloser
	Info          // of the whole object
	Offset int64  // where reading begins
	Type   string // media type, as a server says; "" if none does
}

// Path returns where the object lies in a place that is laid out by content, as rio
// does: aaa/bbb/HASH for a ware; memo/aa/KEY for a memo.
func Path(name string) string {
	kind, hash, _ := strings.Cut(name, ":")
	switch {
	case kind == memoKind && len(hash) > 2:
		return memoKind + "/" + hash[:2] + "/" + hash
	case len(hash) > 6:
		return hash[:3] + "/" + hash[3:6] + "/" + hash
	}
	return kind + "/" + hash // no hash of a packtype is so short
}

const memoKind = "memo"

// MemoName returns the name of the object that holds a memo.
func MemoName(key warehouse.StepKey) string { return memoKind + ":" + string(key) }
