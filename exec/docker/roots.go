package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/dirlock"
)

// maxRoots is how many images of root wares an engine keeps for a user: more than formulas
// have roots at a time, and few enough that they do not fill a disk.
const maxRoots = 16

// roots is the directory where this user keeps a file for each image in an engine that a
// kiln of theirs has loaded. It was last written to when the image was last used, and is
// locked, shared, from before it is looked for until a container has it: from then on
// the engine lets nobody remove it. podman, which says that it is another one each time it is
// asked, is known by where it keeps its images.
func (r *Runner) roots(e *engine) string {
	id := e.info.ID
	if e.podman || id == "" {
		id = strings.Join([]string{e.DaemonHost(), e.info.Name, e.info.DockerRootDir}, "\n")
	}
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(r.StateDir, "roots-"+hex.EncodeToString(sum[:8]))
}

// useRoot notes that an image is used, and keeps this user's kilns from removing it until
// the file is closed.
func (r *Runner) useRoot(e *engine, name string) (*os.File, error) {
	dir := r.roots(e)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, strings.TrimPrefix(name, imageName))
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		f.Close()
		lock, err := dirlock.Lock(path, unix.LOCK_SH)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another kiln has removed it
		}
		if err != nil {
			return nil, err
		}
		now := time.Now()
		return lock, os.Chtimes(path, now, now)
	}
}

// trimRoots removes the images that this user has not used for longest, beyond maxRoots. One
// that a container has or a kiln is about to use stays.
func (r *Runner) trimRoots(ctx context.Context, e *engine) {
	entries, _ := os.ReadDir(r.roots(e))
	used := map[string]time.Time{}
	var names []string
	for _, f := range entries {
		if info, err := f.Info(); err == nil {
			names = append(names, f.Name())
			used[f.Name()] = info.ModTime()
		}
	}
	slices.SortFunc(names, func(a, b string) int { return used[b].Compare(used[a]) })
	for _, name := range names[min(maxRoots, len(names)):] {
		path := filepath.Join(r.roots(e), name)
		lock, err := dirlock.Lock(path, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue
		}
		if _, err := e.ImageRemove(ctx, imageName+name, client.ImageRemoveOptions{PruneChildren: true}); err == nil || errdefs.IsNotFound(err) {
			os.Remove(path)
		}
		lock.Close()
	}
}
