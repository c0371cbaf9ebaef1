package pack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A node is one entry of a directory while its fileset is walked.
type node struct {
	name    string
	meta    meta
	digest  digest    // of a file's content, of a directory's message
	content *[48]byte // Tar, Zip: SHA-384 of a file's content
	rio     *[48]byte // Tar, Zip: the node's rio hash
	seen    seen      // what a stamp covers
	stamp   [sha256.Size]byte
	origin  *unix.Stat_t // of what a cache may remember
	known   int32        // 1 + its index in what a cache knows of its directory, or 0
	skip    bool         // it is no part of the ware
	maybe   bool         // a directory that counts only if something in it does
}

// A dir is a directory between being listed and being left. Its descriptors are open
// in between, or opened again from those above (hold.go): everything below is reached
// from them, never by path.
type dir struct {
	node
	parent  *dir
	slot    int    // in parent.nodes
	depth   int    // 0 for the root
	rel     string // path from the root, only where a walk needs it
	fd      int
	dst     int  // the copy, if one is made
	single  bool // the fileset is one file in it
	st      unix.Stat_t
	nodes   []node  // sorted by name; nil where known tells as much
	visits  []int32 // indexes in nodes of what is not a directory
	subs    []dir   // those in it, by name, until it is left
	known   *known  // what a cache knows of it; nil: nothing
	unread  []byte  // the block that known is read from
	same    bool    // listing it would tell what known does
	block   block   // what a cache is to remember of it
	pending atomic.Int32
	refused error   // by the filters, if it turns out to be part of the ware
	listed  message // what is recorded of it, where a walk needs that
	holding sync.Mutex
	holders int // while it is above 0 it is open, if it does not stay open anyway
}

// closeDir closes what is open of d.
func closeDir(d *dir) {
	if d.fd >= 0 {
		unix.Close(d.fd)
	}
	if d.dst >= 0 {
		unix.Close(d.dst)
	}
	d.fd, d.dst = -1, -1
}

func closeAll(root *dir) {
	for queue := []*dir{root}; len(queue) > 0; {
		d := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		closeDir(d)
		for i := range d.subs {
			queue = append(queue, &d.subs[i])
		}
	}
}

func sortNodes(nodes []node) {
	slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.name, b.name) })
}

// path returns the path of d from the root, "" for the root.
func (d *dir) path() string {
	if d.parent == nil {
		return ""
	}
	var names []string
	for ; d.parent != nil; d = d.parent {
		names = append(names, d.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func entryError(d *dir, name string, err error) error {
	var known *EntryError
	if errors.As(err, &known) {
		return err
	}
	path := join(d.path(), name)
	if name == "" {
		path = d.path()
	}
	if path == "" {
		path = "."
	}
	return &EntryError{path, err}
}

// changed marks an error that means that an entry listed a moment ago is no longer
// what it was.
func changed(err error) error {
	switch err {
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENXIO:
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return err
}
