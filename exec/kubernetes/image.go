package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/internal/newfile"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/image"
	"github.com/kilnbuild/kiln/warehouse"
)

// A push is of one image, which several runs may wait for.
type push struct {
	once sync.Once
	ref  string
	err  error
}

// images returns the image of a run's container, and the one that its helper comes from if it
// is not in that.
func (r *Runner) images(ctx context.Context, spec exec.JobSpec) (main, helper string, err error) {
	if spec.Image == "" {
		main, err = r.image(ctx, spec.Root)
		return main, "", err
	}
	helper, err = r.image(ctx, warehouse.WareID{})
	return spec.Image, helper, err
}

// image pushes the image of a root ware with the helper in it, or of the helper alone, once,
// and returns its name by digest.
func (r *Runner) image(ctx context.Context, root warehouse.WareID) (string, error) {
	for {
		r.mu.Lock()
		p := r.pushed[root.String()]
		if p == nil {
			p = &push{}
			r.pushed[root.String()] = p
		}
		r.mu.Unlock()
		p.once.Do(func() { p.ref, p.err = r.push(ctx, root) })
		if p.err == nil {
			return p.ref, nil
		}
		r.mu.Lock()
		if r.pushed[root.String()] == p { // the next run tries again
			delete(r.pushed, root.String())
		}
		r.mu.Unlock()
		if !errors.Is(p.err, context.Canceled) || ctx.Err() != nil { // another run's context
			return "", p.err
		}
	}
}

func (r *Runner) push(ctx context.Context, root warehouse.WareID) (string, error) {
	helper, err := r.helperWare(ctx)
	if err != nil {
		return "", err
	}
	layers := []image.Layer{{Ware: helper, Path: "/kiln", Root: true}}
	if !root.IsZero() {
		layers = []image.Layer{{Ware: root, Path: "/", Root: true}, {Ware: helper, Path: delegate.HelperPath, Root: true}}
	}
	img, err := image.Make(ctx, r.Local, r.CacheDir, image.Spec{
		Layers: layers, Platform: "linux/" + runtime.GOARCH, Config: v1.ImageConfig{},
	})
	if err != nil {
		return "", err
	}
	if err := img.Push(ctx, r.Images+":"+img.Digest.Encoded(), nil); err != nil {
		return "", err
	}
	return r.Images + "@" + img.Digest.String(), nil
}

// helperWare is the helper's executable as a ware: of a file that has not changed, the one it
// was the last time.
func (r *Runner) helperWare(ctx context.Context) (warehouse.WareID, error) {
	info, err := os.Stat(r.Helper)
	if err != nil {
		return warehouse.WareID{}, fmt.Errorf("kiln's helper: %w", err)
	}
	st := info.Sys().(*syscall.Stat_t)
	known := filepath.Join(r.CacheDir, fmt.Sprintf("helper-%d-%d-%d-%d", st.Dev, st.Ino, info.Size(), info.ModTime().UnixNano()))
	if text, err := os.ReadFile(known); err == nil {
		if id, err := warehouse.ParseWareID(string(text)); err == nil && r.Local.Has(id) {
			return id, nil
		}
	}
	rec, err := pack.Ingest(ctx, r.Local, r.Helper, pack.Options{})
	if err == nil {
		err = os.MkdirAll(r.CacheDir, 0o700)
	}
	if err == nil {
		err = newfile.Write(known, true, func(w io.Writer) error {
			_, err := io.WriteString(w, rec.ID.String())
			return err
		})
	}
	if err != nil {
		return warehouse.WareID{}, fmt.Errorf("kiln's helper: %w", err)
	}
	return rec.ID, nil
}
