package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/kilnbuild/kiln/internal/newfile"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/pack/image"
	"github.com/kilnbuild/kiln/pack/oci"
	"github.com/kilnbuild/kiln/warehouse"
)

// An exporter writes wares of the local warehouse to destinations. kiln run -o and
// kiln ware unpack share it.
type exporter struct {
	wares     *warehouse.Local
	stdout    io.Writer
	overwrite bool
	filters   pack.Filters      // of unpacking, for directories and files; not set: pack.ExportFilters
	layers    string            // directory of the cache of compressed layers
	spec      *image.Spec       // of an output with an image block; nil: the ware alone
	progress  func(bytes int64) // how much has been written; may be nil
}

func (a *app) newExporter(l *warehouse.Local) (*exporter, error) {
	layers, err := cacheDir("layer")
	return &exporter{wares: l, stdout: a.stdout, layers: layers}, err
}

// export writes a ware to d: all of it, or nothing is at d after an error. It returns
// the id of what was written: the ware's, or the image's.
func (x *exporter) export(ctx context.Context, id warehouse.WareID, d *destination) (warehouse.WareID, error) {
	var err error
	made := id
	switch d.kind {
	case toDir:
		return id, x.dir(ctx, id, d)
	case toArchive:
		err = x.file(d, func(w io.Writer) error { return archive.Write(ctx, x.wares, id, w, d.format) })
		if errors.Is(err, archive.ErrFile) {
			err = withHint(err, "Name a path for the file itself: dir:PATH.")
		}
	default:
		made, err = x.image(ctx, id, d)
	}
	if err != nil {
		return made, fmt.Errorf("export to %s: %w", d.text, err)
	}
	return made, nil
}

// image writes an image: of x.spec, or with the ware as its only layer.
func (x *exporter) image(ctx context.Context, id warehouse.WareID, d *destination) (warehouse.WareID, error) {
	spec := image.Spec{Layers: []image.Layer{{Ware: id, Path: "/"}}}
	if x.spec != nil {
		spec = *x.spec
	}
	if spec.Platform == "" {
		spec.Platform = oci.HostPlatform()
	}
	img, err := image.Make(ctx, x.wares, x.layers, spec)
	if err != nil {
		return id, err
	}
	switch d.kind {
	case toLayout:
		err = img.WriteLayout(ctx, d.path, d.ref)
	case toDockerArchive:
		err = x.file(d, func(w io.Writer) error { return img.WriteDockerArchive(ctx, w, d.ref) })
	case toRegistry:
		err = img.Push(ctx, d.ref, x.progress)
	}
	return img.WareID(), err
}

func (x *exporter) dir(ctx context.Context, id warehouse.WareID, d *destination) error {
	o := pack.ExportOptions{Filters: x.filters}
	if x.progress != nil {
		o.Progress = func(_, bytes int64) { x.progress(bytes) }
	}
	rec, err := x.wares.Get(id)
	if err != nil || !rec.File || !x.overwrite {
		return pack.Export(ctx, x.wares, id, d.path, o) // which tells of err as of its own
	}
	aside, err := os.MkdirTemp(filepath.Dir(filepath.Clean(d.path)), ".kiln-export-")
	if err != nil {
		return fmt.Errorf("export %s to %s: %w", id, d.text, err)
	}
	defer os.RemoveAll(aside)
	if err := pack.Export(ctx, x.wares, id, aside+"/file", o); err != nil {
		return err
	}
	return os.Rename(aside+"/file", filepath.Clean(d.path))
}

// file writes what write writes to d's file, or to standard output.
func (x *exporter) file(d *destination, write func(io.Writer) error) error {
	counted := func(w io.Writer) error { return write(&progressWriter{w: w, tell: x.progress}) }
	if !d.stdout() {
		return newfile.Write(d.path, x.overwrite, counted)
	}
	if f, ok := plainWriter(x.stdout).(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return errors.New("standard output is a terminal, and an archive is not for people to read")
	}
	return counted(x.stdout)
}

// plainWriter returns what w, kiln's standard output, writes to.
func plainWriter(w io.Writer) io.Writer {
	if c, ok := w.(*checkedWriter); ok {
		return c.Writer
	}
	return w
}

// A progressWriter tells how much has been written.
type progressWriter struct {
	w    io.Writer
	n    int64
	tell func(int64)
}

func (p *progressWriter) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.n += int64(n)
	if p.tell != nil {
		p.tell(p.n)
	}
	return n, err
}
