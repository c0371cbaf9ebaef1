package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// pack makes wares of the outputs and sends them where they are to go.
func (h *helper) pack(ctx context.Context) error {
	if len(h.Spec.Outputs) == 0 {
		return nil
	}
	local, err := h.warehouse()
	if err != nil {
		return err
	}
	sink, err := h.sink(ctx)
	if err != nil {
		return err
	}
	h.result.Outputs = map[string]warehouse.WareID{}
	for _, o := range h.Spec.Outputs {
		rec, err := h.packOne(ctx, local, o)
		if err != nil {
			return fmt.Errorf("output %s: %w", o.Name, err)
		}
		if sink != nil {
			if err := sink.Put(ctx, rec, local, warehouse.Transfer{}); err != nil {
				return fmt.Errorf("output %s: push ware %s to %s: %w", o.Name, rec.ID, sink, err)
			}
		}
		h.result.Outputs[o.Name] = rec.ID
	}
	return nil
}

// sink opens the warehouse that outputs go to, or returns nil when they stay.
func (h *helper) sink(ctx context.Context) (warehouse.Store, error) {
	if h.Sink == "" {
		return nil, nil
	}
	store, err := h.open(ctx, h.Sink)
	if err != nil {
		return nil, fmt.Errorf("open warehouse: %w", err)
	}
	return store, nil
}

func (h *helper) packOne(ctx context.Context, local *warehouse.Local, o exec.JobOutput) (warehouse.Record, error) {
	at, err := locate(o.Path)
	if err != nil {
		return warehouse.Record{}, err
	}
	filters, err := pack.ParseFilters(o.Filters)
	if err != nil {
		return warehouse.Record{}, err
	}
	rec, err := pack.Ingest(ctx, local, at, pack.Options{Packtype: o.Packtype, Filters: filters, Exclude: h.hiddenBelow(at)})
	if points := h.pointsBelow(at); err == nil && len(points) > 0 {
		rec, err = uncover(ctx, local, rec, o.Packtype, points)
	}
	if err != nil && at != o.Path { // name it as the command did
		err = errors.New(strings.ReplaceAll(err.Error(), at, o.Path))
	}
	return rec, err
}

// pointsBelow returns the mount points in an output, relative to it.
func (h *helper) pointsBelow(at string) map[string]uint32 {
	points := map[string]uint32{}
	for path, mode := range h.Points {
		if rel, err := filepath.Rel(at, path); err == nil && filepath.IsLocal(rel) && rel != "." {
			points[rel] = mode
		}
	}
	return points
}

// uncover makes the ware that rec is with the modes that directories have below what is
// mounted on them.
func uncover(ctx context.Context, local *warehouse.Local, rec warehouse.Record, packtype string, modes map[string]uint32) (warehouse.Record, error) {
	c, err := pack.OpenContents(ctx, local, rec.ID)
	if err != nil {
		return rec, err
	}
	b, err := pack.NewBuilder(ctx, local, pack.BuildOptions{Options: pack.Options{Packtype: packtype, Filters: pack.KeepFilters()}, MaxBytes: -1, MaxEntries: -1})
	if err != nil {
		return rec, err
	}
	defer b.Close()
	err = c.Walk(func(e *pack.Entry, content io.Reader) error {
		if mode, ok := modes[e.Path]; ok {
			e.Mode = mode
		}
		return b.Add(e, content)
	})
	if err != nil {
		return rec, err
	}
	return b.Commit()
}

// hiddenBelow returns patterns, relative to an output, of what is no part of it.
func (h *helper) hiddenBelow(at string) (patterns []string) {
	for _, hidden := range append([]string{delegate.Dir}, h.Hidden...) {
		if rel, err := filepath.Rel(at, hidden); err == nil && filepath.IsLocal(rel) && rel != "." {
			patterns = append(patterns, rel)
		}
	}
	for rel := range h.pointsBelow(at) {
		patterns = append(patterns, rel+"/*")
	}
	return patterns
}

// locate returns where an output lies, links on the way resolved.
func locate(name string) (string, error) {
	dir, err := filepath.EvalSymlinks(path.Dir(name))
	if err != nil {
		return "", missing(name, err)
	}
	at := filepath.Join(dir, path.Base(name))
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		return "", missing(name, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG:
		return at, nil
	case unix.S_IFLNK:
		target, _ := os.Readlink(at)
		return "", fmt.Errorf("%s is a symbolic link to %s: name what it points to as the output", name, target)
	}
	return "", fmt.Errorf("%s is neither a directory nor a file", name)
}

func missing(name string, err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("the step did not make %s", name)
	}
	return fmt.Errorf("%s: %w", name, err)
}
