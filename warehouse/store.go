package warehouse

import (
	"context"
	"errors"
)

// A Store keeps wares, and memos if it can, beyond this machine's warehouse: in a
// directory that is shared, on a server, in a bucket, in a registry. One subpackage for
// each kind implements it, and all pass the suite in package warehousetest. Its
// methods are safe for concurrent use, also by kilns on other machines.
type Store interface {
	// Has tells of each of ids whether the ware is there, from what the store says
	// and without reading content. An error means that the store did not answer.
	Has(ctx context.Context, ids []WareID) ([]bool, error)

	// Get brings a ware into local, if it is not there already, and returns its record.
	// Every byte is verified against id before the ware counts as there. The error
	// matches ErrMissing when the store does not have it, and ErrMismatch when what it
	// gave is something else or broken; nothing of that is kept. Any other error is
	// about the store, and may pass.
	Get(ctx context.Context, id WareID, local *Local, o Transfer) (Record, error)

	// Put brings a ware of local into the store. It is idempotent: what is there
	// already stays and counts as put. When it has returned nil, Has and Get of any
	// client find the ware; before that, none finds a part of it. The error matches
	// ErrReadOnly when the store takes nothing, and is a *HereError when it is about
	// this machine. An alias is put as the tree it names, under that id.
	Put(ctx context.Context, rec Record, local *Local, o Transfer) error

	// Memo returns the sealed memo kept under key, which the caller opens and
	// verifies. The error matches ErrMissing when there is none. A store that can
	// tell leaves out memos whose wares it has lost.
	Memo(ctx context.Context, key StepKey) ([]byte, error)

	// PutMemo keeps a sealed memo under key, in place of one that is there. The wares
	// that it names were put before.
	PutMemo(ctx context.Context, key StepKey, sealed []byte) error

	// String returns the store's URL, without credentials.
	String() string

	// Close ends what the store has open.
	Close() error
}

// Transfer is how Get and Put tell how far they are, and where they may keep what
// will be of use when they are interrupted.
type Transfer struct {
	// Progress, if not nil, is called with the bytes that have crossed so far, as they
	// cross, and how many there will be, or -1. Calls do not overlap.
	Progress func(done, total int64)
	// CacheDir is a directory for parts of what is being fetched, shared with other
	// processes: a Get that was killed is resumed from it by the next one. "": none.
	CacheDir string
}

// A HereError is why a ware could not be read or packed on this machine, such as a full
// disk: the store that it was to be put into has nothing to do with it.
type HereError struct {
	Dir string // that of the local warehouse, or of temporary files
	Err error
}

func (e *HereError) Error() string { return "here, in " + e.Dir + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *HereError) Unwrap() error { return e.Err }

// ErrMismatch says that what was given is not the ware it was given for.
var ErrMismatch = errors.New("not the ware that was asked for")
