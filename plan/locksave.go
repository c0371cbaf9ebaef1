package plan

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// A LockChange is one entry of the lock file that is not what it was.
type LockChange struct {
	Addr     string
	Old, New warehouse.WareID // zero: there was or is no entry
	Reason   string           // "new", "source changed", "updated", "ware is gone"
}

func (c LockChange) String() string {
	switch {
	case c.Old.IsZero():
		return fmt.Sprintf("%s: %s (%s)", c.Addr, c.New, c.Reason)
	case c.New.IsZero():
		return fmt.Sprintf("%s: dropped %s (%s)", c.Addr, c.Old, c.Reason)
	case c.Old == c.New:
		return fmt.Sprintf("%s: still %s (%s)", c.Addr, c.New, c.Reason)
	}
	return fmt.Sprintf("%s: %s → %s (%s)", c.Addr, c.Old, c.New, c.Reason)
}

// lockUpdate is what one Resolve found out that its lock file did not say.
type lockUpdate struct {
	entries map[string]LockEntry
	reasons map[string]string // by address, for LockChange
	forced  map[string]bool   // addresses that were to be resolved anew
	sure    bool              // every entry would be found again: builtins, releases of catalogs, and urls with a sha256
}

// saveLock brings the lock file at path up to date with u, and drops the entries
// for which keep, if not nil, is false. What another kiln has written since the
// file was read is kept. A file that says the same already is not touched. The
// new one is written aside, synced and renamed, so a reader sees either.
func saveLock(path string, u lockUpdate, keep func(addr string) bool) ([]LockChange, hcl.Diagnostics) {
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, unwritten(path, err, false)
	}
	defer unlock()
	now, _, diags := readLock(path)
	if diags.HasErrors() {
		return nil, diags
	}
	next, changes, diags := u.apply(path, now, keep)
	if diags.HasErrors() || changes == nil {
		return nil, diags
	}
	text := formatLock(next)
	if bytes.Equal(text, now.bytes) {
		return changes, nil
	}
	if err := replaceFile(path, text); err != nil {
		return nil, unwritten(path, err, u.sure && keep == nil)
	}
	return changes, nil
}

// checkLock returns what saveLock would change, and writes nothing.
func checkLock(path string, u lockUpdate, keep func(addr string) bool) ([]LockChange, hcl.Diagnostics) {
	now, _, diags := readLock(path)
	if diags.HasErrors() {
		return nil, diags
	}
	_, changes, diags := u.apply(path, now, keep)
	return changes, diags
}

// apply returns the entries of the lock file at path, which now has those of now, with
// u and without those that are not kept, and what differs; nil if nothing does.
func (u *lockUpdate) apply(path string, now lockFile, keep func(addr string) bool) (next map[string]LockEntry, changes []LockChange, diags hcl.Diagnostics) {
	next = maps.Clone(now.entries)
	for _, addr := range slices.Sorted(maps.Keys(u.entries)) {
		e, old := u.entries[addr], now.entries[addr]
		if old == e {
			continue
		}
		if u.reasons[addr] == reasonNew && !old.ID.IsZero() && !u.forced[addr] {
			err := fmt.Errorf("lock %s: another kiln locked it to %s meanwhile, this one found %s", addr, old.ID, e.ID)
			return nil, nil, lockDiag(path, "Lock file changed meanwhile", "Another kiln has just locked "+addr+" to "+old.ID.String()+", this one found "+e.ID.String()+". Run again to use what is locked, or kiln update "+addr+" to resolve it anew.", err)
		}
		next[addr] = e
		changes = append(changes, LockChange{Addr: addr, Old: old.ID, New: e.ID, Reason: u.reasons[addr]})
	}
	if keep != nil {
		for _, addr := range slices.Sorted(maps.Keys(next)) {
			if !keep(addr) {
				changes = append(changes, LockChange{Addr: addr, Old: next[addr].ID, Reason: "ware is gone"})
				delete(next, addr)
			}
		}
	}
	return next, changes, nil
}

// unwritten is the diagnostic for a lock file that cannot be written: a warning
// where nothing is lost by that.
func unwritten(path string, err error, sure bool) hcl.Diagnostics {
	if sure {
		diags := lockDiag(path, "Lock file not written", fmt.Sprintf("%s. This kiln finds the same wares again without it.", err), err)
		diags[0].Severity = hcl.DiagWarning
		return diags
	}
	return lockDiag(path, "Cannot write the lock file",
		fmt.Sprintf("%s. What the sources resolved to is not recorded, so the next run may find other wares.", err), err)
}

// lockDir takes the advisory lock on a directory, which a read-only directory
// allows too and which leaves no file behind. Where the file system has no such
// locks, it goes on without: the rename keeps the lock file whole all the same.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return func() { d.Close() }, nil
}

// replaceFile gives path the content text, or leaves it as it was. Only the holder
// of lockDir may call it: the file aside has one name, so that one left by a kiln
// that was killed is written over.
func replaceFile(path string, text []byte) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir, name := filepath.Split(path)
	aside := asideName(dir, name)
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(aside, path)
	}
	if err != nil {
		os.Remove(aside)
		return err
	}
	return syncDir(dir)
}

// asideName is where the next file called name in dir is written.
func asideName(dir, name string) string { return filepath.Join(dir, "."+name+".new") }

func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
