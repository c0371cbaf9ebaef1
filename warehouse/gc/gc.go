// Package gc keeps kiln's directories within limits: it says what takes how much, and
// removes what was not used for long or, of what a limit has no room for, what was used
// least recently. What formulas and running kilns use stays. Who the units are whose
// layout is not the warehouse's, such as caches, the caller says.
//
// One entry of some two hundred bytes is held for each ware and memo, and nothing of
// what is in them.
package gc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse"
)

// Options say what is kept, and where things are.
type Options struct {
	Warehouse *warehouse.Local
	Memos     *warehouse.Memos
	Uses      *warehouse.Uses
	Shelves   []Shelf // what else counts

	KeepFor  time.Duration // what was not used for longer goes; negative: age does not matter
	MaxBytes int64         // on disk, of everything; 0: no limit
	DryRun   bool          // remove nothing

	// UsedSince, if not zero, says that wares used since then are in use: by runs that go
	// on without a process of this machine, such as a container engine's.
	UsedSince time.Time

	Now      func() time.Time  // nil: time.Now
	Fresh    time.Duration     // see warehouse.FreshTime, which 0 stands for
	Progress func(done string) // called now and then with what is being done; may be nil
	Removed  func(Item)        // called for what goes, in the order in which it goes; may be nil
}

// A Kind is a sort of thing that takes room.
type Kind string

// The kinds. Those of shelves are the shelves' names.
const (
	KindMemo     Kind = "memo"
	KindAlias    Kind = "alias"
	KindWare     Kind = "ware"
	KindLeftover Kind = "leftover" // of processes that were killed
)

// An Item is one thing that goes, or would.
type Item struct {
	Kind Kind      `json:"kind"`
	Name string    `json:"name"` // ware id, step key, path
	Disk int64     `json:"bytes"`
	Used time.Time `json:"used"` // last
	Why  string    `json:"why"`  // "age", "size", "broken"
}

// A Report says what a collection did.
type Report struct {
	Before  int64           `json:"before"` // bytes on disk
	Freed   int64           `json:"freed"`
	Removed map[Kind]Amount `json:"removed"`
	Left    map[Kind]Amount `json:"left"`
	Rooted  int64           `json:"rooted"`  // bytes of what formulas and running kilns use
	Roots   []Root          `json:"roots"`   // formulas in use
	Running int             `json:"running"` // other kilns at work
	// Over is by how much what is left is more than MaxBytes: all of it is in use.
	Over int64 `json:"over"`
}

// An Amount is how many things, and their bytes on disk.
type Amount struct {
	Count int   `json:"count"`
	Disk  int64 `json:"bytes"`
}

// A Root is a formula whose wares and memos stay: its lock file, or its directory if it
// has none, is there, and it was used within KeepFor.
type Root struct {
	Lock    string    `json:"lock"`
	Formula string    `json:"formula"`
	Used    time.Time `json:"used"`
}

// Collect removes what Options say. It may be killed at any time: what it has not
// removed is as it was. Two at once wait for each other, and it may run beside anything
// else that kiln does.
func Collect(ctx context.Context, o Options) (*Report, error) {
	if !o.DryRun {
		unlock, err := lock(ctx, filepath.Join(o.Warehouse.Dir(), "gc.lock"))
		if err != nil {
			return nil, fmt.Errorf("collect: %w", err)
		}
		defer unlock()
	}
	c := newCollection(ctx, o)
	if !o.DryRun {
		if n := o.Warehouse.SweepWork(); n > 0 {
			c.report.Removed[KindLeftover] = Amount{Count: n}
		}
	}
	if err := c.survey(); err != nil {
		return nil, fmt.Errorf("collect: %w", err)
	}
	err := c.clean()
	c.sum()
	if err != nil {
		return c.report, fmt.Errorf("collect: %w", err)
	}
	return c.report, nil
}

// lock waits until no other process collects.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	wait := time.NewTicker(50 * time.Millisecond) // not in the kernel: ctx must end it
	defer wait.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return func() { f.Close() }, nil // also where the file system has no locks
		}
		select {
		case <-wait.C:
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
}
