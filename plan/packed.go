package plan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// text finds the id of a text as a ware, one file of mode 0644, and with store puts it
// into the warehouse.
func (p *packer) text(ctx context.Context, text string, store bool) (warehouse.WareID, error) {
	dir, err := os.MkdirTemp(p.o.CacheDir, "text-")
	if err != nil {
		return warehouse.WareID{}, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return warehouse.WareID{}, err
	}
	if err := os.Chmod(file, 0o644); err != nil { // whatever the umask
		return warehouse.WareID{}, err
	}
	if store {
		rec, err := pack.Ingest(ctx, p.o.Warehouse, file, pack.Options{})
		return rec.ID, err
	}
	r, err := pack.Scan(ctx, file, pack.Options{})
	return r.ID, err
}

// putEmpty puts the empty ware into the warehouse.
func (p *packer) putEmpty(ctx context.Context) error {
	b, err := pack.NewBuilder(ctx, p.o.Warehouse, pack.BuildOptions{})
	if err != nil {
		return err
	}
	rec, err := b.Commit()
	if err == nil && rec.ID.String() != formula.EmptyWare {
		err = fmt.Errorf("an empty directory is the ware %s", rec.ID)
	}
	return errors.Join(err, b.Close())
}
