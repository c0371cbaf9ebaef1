package gitremote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/pack/git"
	"golang.org/x/sys/unix"
)

// A cache is a bare repository that holds what was fetched from one url: packs, and
// refs/kiln/COMMIT for each commit whose tree is whole. Who writes to it holds its
// lock; packs are written aside and renamed, so that others can read meanwhile, and
// a process that is killed leaves at most a file that the next one removes.
type cache struct {
	dir string
	o   *Options
}

const heldPrefix = "refs/kiln/"

// lock waits until no other process writes to the cache.
func (c *cache) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	wait := time.NewTicker(50 * time.Millisecond) // not in the kernel: ctx must end it
	defer wait.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
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

// init makes the repository if it is not there.
func (c *cache) init(format int) error {
	config := "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
	if format == 32 {
		config = "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = sha256\n"
	}
	if old, err := os.ReadFile(filepath.Join(c.dir, "config")); err == nil && string(old) == config {
		c.sweep()
		return nil
	}
	// There is none, or it had other objects before.
	err := c.clear()
	for _, dir := range []string{"objects/pack", heldPrefix} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(c.dir, dir), 0o700))
	}
	return errors.Join(err, c.write("HEAD", "ref: refs/heads/none\n"), c.write("config", config))
}

// clear removes everything but the lock. What says that commits are there goes first.
func (c *cache) clear() error {
	var errs error
	for _, name := range []string{"refs", "config", "HEAD", "objects", "shallow"} {
		errs = errors.Join(errs, os.RemoveAll(filepath.Join(c.dir, name)))
	}
	return errs
}

// sweep removes what was being fetched by a process that was killed.
func (c *cache) sweep() {
	left, _ := filepath.Glob(filepath.Join(c.dir, "objects/pack/tmp_*"))
	for _, name := range left {
		os.Remove(name)
	}
}

// write writes a small file aside and renames it.
func (c *cache) write(name, text string) error {
	path := filepath.Join(c.dir, name)
	aside := path + ".new"
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(aside, path)
}

func (c *cache) open() (*git.Repo, error) { return git.Open(c.dir) }

// has reports whether all of a commit is in the cache.
func (c *cache) has(id git.ID) bool {
	_, err := os.Lstat(filepath.Join(c.dir, heldPrefix, id.String()))
	return err == nil
}

// complete notes that all of what a tag or a commit names is here, and returns the
// commit.
func (c *cache) complete(id git.ID) (git.ID, error) {
	repo, err := c.open()
	if err != nil {
		return "", err
	}
	defer repo.Close()
	if id, err = repo.Peel(id); err != nil {
		return "", err
	}
	return id, c.write(heldPrefix+id.String(), id.String()+"\n")
}

// maxHave is how many commits are named to a server: of those fetched last, one will do.
const maxHave = 64

// held returns the commits that are here, the latest first.
func (c *cache) held() []git.ID {
	entries, _ := os.ReadDir(filepath.Join(c.dir, heldPrefix))
	at := func(e fs.DirEntry) time.Time {
		info, err := e.Info()
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return at(b).Compare(at(a)) })
	var ids []git.ID
	for _, e := range entries[:min(len(entries), maxHave)] {
		if id, err := git.ParseID(e.Name()); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// shallow returns the commits that are here without their parents.
func (c *cache) shallow() []git.ID {
	text, _ := os.ReadFile(filepath.Join(c.dir, "shallow"))
	var ids []git.ID
	for hex := range strings.FieldsSeq(string(text)) {
		if id, err := git.ParseID(hex); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// fetch brings a pack from r into the cache.
func (c *cache) fetch(ctx context.Context, r *remote, q request) error {
	before := c.shallow()
	if q.depth > 0 {
		q.have = c.held()
		for _, id := range q.have {
			if slices.Contains(before, id) {
				q.shallow = append(q.shallow, id)
			}
		}
	}
	pack, shallow, err := r.fetch(ctx, q)
	if err == nil {
		err = c.store(ctx, pack, r.format)
	}
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, id := range slices.Compact(slices.Sorted(slices.Values(append(before, shallow...)))) {
		fmt.Fprintln(&text, id)
	}
	if len(shallow) == 0 {
		return nil
	}
	return c.write("shallow", text.String())
}

// store writes a pack, indexes it, which verifies it, and puts it into place.
func (c *cache) store(ctx context.Context, pack io.Reader, format int) error {
	dir := filepath.Join(c.dir, "objects/pack")
	f, err := os.CreateTemp(dir, "tmp_pack_")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := c.copy(ctx, f, pack); err != nil {
		return err
	}
	idx := filepath.Join(dir, "tmp_idx_"+filepath.Base(f.Name()))
	defer os.Remove(idx)
	repo, err := c.open()
	if err != nil {
		return err
	}
	defer repo.Close()
	base := func(id git.ID) (git.Kind, []byte, error) { return repo.Objects.ReadAny(id, maxBase) }
	sum, n, err := git.IndexPack(ctx, f.Name(), idx, format, base)
	if err != nil || n == 0 {
		return err
	}
	if err := errors.Join(f.Chmod(0o444), f.Sync()); err != nil {
		return err
	}
	name := filepath.Join(dir, "pack-"+sum)
	if err := os.Rename(f.Name(), name+".pack"); err != nil {
		return err
	}
	return os.Rename(idx, name+".idx")
}

// maxBase is how large an object may be that a delta is to be applied to: git keeps
// larger ones whole.
const maxBase = 512 << 20

// copy writes what comes to f, as far as it may be.
func (c *cache) copy(ctx context.Context, f *os.File, pack io.Reader) error {
	buf := make([]byte, 128<<10)
	for done := int64(0); ; {
		n, err := pack.Read(buf)
		if done += int64(n); c.o.MaxBytes > 0 && done > c.o.MaxBytes {
			return fmt.Errorf("more bytes than the limit of %d", c.o.MaxBytes)
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		if c.o.Progress != nil && n > 0 {
			c.o.Progress(done, -1)
		}
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}
