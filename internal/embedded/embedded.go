// Package embedded holds what a kiln binary carries in itself: the executor and the
// content of the builtin ware "toolbox". `make build` puts both in place; built
// without it, this package still compiles and its functions say so.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// What carried.go sets, which the Makefile writes. The bytes are not to be changed.
var (
	executor         []byte
	toolbox          []byte
	toolboxLanguages []byte
	toolboxApplets   string
	toolboxID        string
)

// ErrMissing says that kiln was built without what is asked for.
var ErrMissing = errors.New("run make build")

// Executor returns the executable of the executor, a static binary for this
// platform. The caller must not change it. The error matches ErrMissing.
func Executor() ([]byte, error) {
	if len(executor) == 0 {
		return nil, fmt.Errorf("this kiln was built without its executor: %w", ErrMissing)
	}
	return executor, nil
}

// Toolbox returns the toolbox's multi-call binary. The caller must not change it. The
// error matches ErrMissing.
func Toolbox() ([]byte, error) {
	if len(toolbox) == 0 || len(toolboxLanguages) == 0 {
		return nil, fmt.Errorf("this kiln was built without its toolbox: %w", ErrMissing)
	}
	return toolbox, nil
}

// ToolboxID returns the ware id of the toolbox, without hashing anything.
func ToolboxID() (warehouse.WareID, error) {
	if _, err := Toolbox(); err != nil {
		return warehouse.WareID{}, err
	}
	return warehouse.ParseWareID(strings.TrimSpace(toolboxID))
}

// PutToolbox puts the toolbox into the warehouse unless it is there. It is safe to
// call at once from several processes.
func PutToolbox(ctx context.Context, l *warehouse.Local) error {
	id, err := ToolboxID()
	if err != nil {
		return err
	}
	if l.Has(id) {
		return nil
	}
	dir, err := l.Stage("toolbox")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := LayToolbox(dir + "/fileset"); err != nil {
		return err
	}
	rec, err := pack.Adopt(ctx, l, dir+"/fileset", pack.Options{})
	if err != nil {
		return fmt.Errorf("pack toolbox: %w", err)
	}
	if rec.ID != id {
		return fmt.Errorf("pack toolbox: it is %s, want %s", rec.ID, id)
	}
	return nil
}
