package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/exec/function/runners"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// runnersID is the ware id of the builtin "runners"; a test tells it.
const runnersID = "tree:9e7250be0398488450f874342e52f5d185ed8822c3f6b90c6b54f9155d97b829-190"

// RunnersID returns the ware id of the builtin "runners".
func RunnersID() (warehouse.WareID, error) { return warehouse.ParseWareID(runnersID) }

// PutRunners puts the programs that speak the protocol of functions into the warehouse
// unless they are there. It is safe to call at once from several processes.
func PutRunners(ctx context.Context, l *warehouse.Local) error {
	id, err := RunnersID()
	if err != nil {
		return err
	}
	if l.Has(id) {
		return nil
	}
	dir, err := l.Stage("runners")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := layRunners(dir + "/fileset"); err != nil {
		return fmt.Errorf("lay out runners: %w", err)
	}
	rec, err := pack.Adopt(ctx, l, dir+"/fileset", pack.Options{})
	if err != nil {
		return fmt.Errorf("pack runners: %w", err)
	}
	if rec.ID != id {
		return fmt.Errorf("pack runners: it is %s, want %s", rec.ID, id)
	}
	return nil
}

func layRunners(dir string) error {
	if err := makeDir(dir); err != nil {
		return err
	}
	for name, text := range map[string]string{"runner.py": runners.Python, "runner.mjs": runners.Node} {
		if err := write(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
