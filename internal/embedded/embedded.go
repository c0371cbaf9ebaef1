// Package embedded holds what a kiln binary carries in itself: the executables of
// the executor and the content of the builtin ware "toolbox". The Makefile builds
// them; a kiln built without it, by go build alone, has none and says so when
// one is needed.
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

// What carried.go sets, which the Makefile has written. It embeds each file as a
// variable, not all of them as an embed.FS, because reading that copies.
var (
	executor         []byte
	enter            []byte
	kube             []byte
	toolbox          []byte
	toolboxLanguages []byte
	toolboxApplets   string
	toolboxID        string
)

// ErrNotBuilt says that this kiln was built without what was asked for.
var ErrNotBuilt = errors.New("this kiln was built without it: run make build")

// Executor returns the executable of cmd/kiln-executor. It must not be changed.
func Executor() ([]byte, error) { return carried("executor", executor) }

// Enter returns the executable of cmd/kiln-enter. It must not be changed.
func Enter() ([]byte, error) { return carried("enter", enter) }

// Kube returns the executable of cmd/kiln-kube. It must not be changed.
func Kube() ([]byte, error) { return carried("kube", kube) }

// Toolbox returns the toolbox's main executable. It must not be changed.
func Toolbox() ([]byte, error) { return carried("toolbox", toolbox) }

func carried(name string, data []byte) ([]byte, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%s: %w", name, ErrNotBuilt)
	}
	return data, nil
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
