package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// place brings every input to its port, in path order, and notes what read-only ones
// look like that nothing protects.
func (h *helper) place(ctx context.Context) error {
	h.marks = map[string]string{}
	mounted, copied := false, false
	for _, in := range h.Spec.Inputs {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		at := h.Arrived[in.Port]
		frozen := slices.Contains(h.Frozen, in.Port)
		switch {
		case at == in.Port:
			mounted = true
		case at != "":
			if err := copyFileset(at, in.Port); err != nil {
				return fmt.Errorf("input %s: copy it there: %w", in.Port, err)
			}
		default:
			if err := h.fetchTo(ctx, in); err != nil {
				return fmt.Errorf("input %s: %w", in.Port, err)
			}
		}
		if at != in.Port {
			info, err := os.Lstat(in.Port) // one file is read-only in containers of kiln's too
			copied, frozen = true, in.Mode != formula.Overlay || err == nil && info.Mode().IsRegular()
		}
		if frozen {
			h.marks[in.Port] = ""
		}
	}
	h.result.Placed = placed(mounted, copied)
	for port := range h.marks { // when nothing is copied into them any more
		mark, err := h.markOf(port)
		if err != nil {
			return fmt.Errorf("input %s: %w", port, err)
		}
		h.marks[port] = mark
	}
	return nil
}

func placed(mounted, copied bool) string {
	switch {
	case mounted && copied:
		return "mounted and copied"
	case mounted:
		return "mounted"
	case copied:
		return "copied"
	}
	return ""
}

// thawed reports a read-only input that the command has changed. In a container of kiln's
// it could not have.
func (h *helper) thawed() error {
	for port, was := range h.marks {
		if is, err := h.markOf(port); err != nil || is != was {
			return fmt.Errorf("the command changed its input %s, which is read-only: give it mode = \"overlay\"", port)
		}
	}
	return nil
}

// fetchTo fetches the ware of an input and copies it to its port.
func (h *helper) fetchTo(ctx context.Context, in exec.JobInput) error {
	local, err := h.warehouse()
	if err != nil {
		return err
	}
	rec, err := h.fetch(ctx, in.Ware, local)
	if err != nil {
		return err
	}
	if in.Filters != "" {
		if rec, err = filtered(ctx, local, rec, in.Filters); err != nil {
			return err
		}
	}
	if err := clear(in.Port); err != nil {
		return err
	}
	return pack.Export(ctx, local, rec.ID, in.Port, pack.ExportOptions{})
}

// filtered returns a ware that is rec unpacked with filters.
func filtered(ctx context.Context, local *warehouse.Local, rec warehouse.Record, filters string) (warehouse.Record, error) {
	f, err := pack.ParseUnpackFilters(filters)
	if err != nil || f.OwnersOnly() {
		return rec, err // every file is the helper's own
	}
	return pack.Derive(ctx, local, rec.ID, f)
}

// fetch brings a ware from the first source that has it.
func (h *helper) fetch(ctx context.Context, id warehouse.WareID, local *warehouse.Local) (warehouse.Record, error) {
	if h.stores == nil {
		for _, url := range h.Sources {
			store, err := h.open(ctx, url)
			if err != nil {
				return warehouse.Record{}, fmt.Errorf("open warehouse: %w", err)
			}
			h.stores = append(h.stores, store)
		}
	}
	errs := []error{fmt.Errorf("ware %s is in none of the warehouses that can be reached from where the command is to run", id)}
	for _, store := range h.stores {
		rec, err := store.Get(ctx, id, local, warehouse.Transfer{})
		if err == nil {
			return rec, nil
		}
		errs = append(errs, fmt.Errorf("from %s: %w", store, err))
	}
	return warehouse.Record{}, errors.Join(errs...)
}

// warehouse opens the helper's own local warehouse.
func (h *helper) warehouse() (*warehouse.Local, error) {
	if h.local != nil {
		return h.local, nil
	}
	local, err := warehouse.OpenLocal(delegate.Warehouse)
	h.local = local
	return local, err
}

// clear makes room at a port: what the root has there is hidden by what comes.
func clear(port string) error {
	if err := os.MkdirAll(filepath.Dir(port), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(port); err != nil {
		return nil
	}
	real, err := filepath.EvalSymlinks(port) // a mount would go where a link leads
	if err != nil {
		return fmt.Errorf("no place for %s: on the way to it, or there, is a symbolic link that leads nowhere", port)
	}
	return warehouse.RemoveTree(real)
}
