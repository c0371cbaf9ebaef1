// Package pack maps filesets to ware ids and packed wares, and back. It leaves
// where wares are kept to package warehouse and knows nothing of formulas.
//
// A fileset is hashed by a few workers that walk it once (walk.go); each file is
// read once, each directory is hashed when all below it has been. Scan only hashes,
// Ingest copies and hashes the copy's bytes on their way, Adopt hashes a fileset
// where it lies and renames it into the warehouse, and a Builder writes a fileset
// entry by entry, for readers of archives. How a packtype makes an id out
// of entries is in tree.go and tar.go, and specified in docs/formats.md.
package pack

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/kilnbuild/kiln/warehouse"
)

// The packtypes this package hashes.
const (
	Tree = "tree" // the default
	Tar  = "tar"
	Zip  = "zip" // hashed as Tar
)

// Options says how a fileset becomes a ware. The zero value packs everything as a
// tree with the default filters.
type Options struct {
	Packtype string     // "" is Tree
	Filters  Filters    // what is not set in it is as in DefaultFilters
	Include  []string   // patterns of what to take; empty: everything
	Exclude  []string   // patterns of what to leave out; they win over Include
	Cache    *StatCache // of Scan and Ingest; may be nil
	Jobs     int        // workers; 0: one per core
	// Progress is told how much has been read so far; one call at a time, from
	// any goroutine, and not for every entry. May be nil.
	Progress func(entries, bytes int64)
}

// A Result is a fileset's ids and size.
type Result struct {
	ID      warehouse.WareID
	Tree    warehouse.WareID // the tree id; equal to ID for Tree
	File    bool             // one file, not a directory
	Entries int64            // files, directories, links; the root counts
	Bytes   int64            // content of files
}

var (
	// ErrChanged says that a fileset changed while it was read.
	ErrChanged = errors.New("changed while it was read")
	// ErrCorrupt says that a fileset in the warehouse is not what its id says.
	ErrCorrupt = errors.New("is not what its id says")
	// ErrRatio says that a packed form holds suspiciously much more than its size.
	ErrRatio = errors.New("it may be a bomb")
	// ErrLayered says that a directory to adopt is not complete by itself: it
	// refers to lower layers of an overlay. Ingest the merged view instead.
	ErrLayered = errors.New("refers to a lower layer of an overlay")
)

// An EntryError is about one entry of a fileset.
type EntryError struct {
	Path string // relative to the root, "." for the root itself
	Err  error
}

func (e *EntryError) Error() string {
	path := e.Path
	if half := 500; len(path) > 2*half {
		path = path[:half] + " … " + path[len(path)-half:]
	}
	return fmt.Sprintf("%q: %v", path, e.Err)
}

// Unwrap returns the cause.
func (e *EntryError) Unwrap() error { return e.Err }

func (o Options) jobs() int {
	if o.Jobs > 0 {
		return o.Jobs
	}
	return runtime.GOMAXPROCS(0)
}

// rio reports whether ids are made of rio's hashes.
func (o *Options) rio() bool { return o.Packtype == Tar || o.Packtype == Zip }

// resolve checks o and fills in what is not set.
func (o Options) resolve() (Options, error) {
	switch o.Packtype {
	case "":
		o.Packtype = Tree
	case Tree, Tar, Zip:
	default:
		return o, fmt.Errorf("packtype %q: kiln can pack %s, %s and %s", o.Packtype, Tree, Tar, Zip)
	}
	o.Filters = o.Filters.Over(DefaultFilters())
	return o, nil
}
