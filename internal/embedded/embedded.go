// Package embedded holds the executables that kiln carries inside its own. The
// Makefile builds them; a kiln built without it, by go build alone, has none and
// says so when one is needed.
package embedded

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

//go:embed all:files
var files embed.FS

// ErrNotBuilt says that this kiln was built without what was asked for.
var ErrNotBuilt = errors.New("this kiln was built without it: run make build")

// Executor returns the executable of cmd/kiln-executor.
func Executor() ([]byte, error) { return read("executor") }

// Enter returns the executable of cmd/kiln-enter.
func Enter() ([]byte, error) { return read("enter") }

func read(name string) ([]byte, error) {
	b, err := files.ReadFile("files/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotBuilt)
	}
	return b, err
}
