package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/warehouse"
)

// An operand is something that a verb compares: a ware, or what lies at a path.
type operand struct {
	*pack.Fileset
	name    string // for people: the id, shortened, or the path
	archive bool
}

// withOperand opens a ware by the beginning of its id, or a path: a directory, a file,
// or an archive, whose content counts. What has a slash in it or begins with a dot is
// a path; else, and if there is no such ware, it is one if something is there.
func withOperand(ctx context.Context, l *warehouse.Local, text string, o pack.BuildOptions, use func(*operand) error) error {
	if isPath(text) {
		return withPath(ctx, l, text, o, use)
	}
	rec, err := findWare(ctx, l, text)
	if errors.Is(err, warehouse.ErrMissing) && !strings.Contains(text, ":") {
		if _, statErr := os.Stat(text); statErr == nil {
			return withPath(ctx, l, text, o, use)
		}
	}
	if err != nil {
		return err
	}
	f, err := pack.OpenFileset(ctx, l, rec)
	if err != nil {
		return err
	}
	return use(&operand{f, shortID(rec.ID), false})
}

func isPath(text string) bool {
	return strings.ContainsRune(text, '/') || strings.HasPrefix(text, ".")
}

// withPath opens what lies at a path.
func withPath(ctx context.Context, l *warehouse.Local, path string, o pack.BuildOptions, use func(*operand) error) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() {
		err := withArchive(ctx, l, path, o, use)
		if !errors.Is(err, archive.ErrFormat) {
			return err
		}
	}
	f, err := pack.ReadFileset(ctx, path, o.Options)
	if err != nil {
		return err
	}
	return use(&operand{f, path, false})
}

// withArchive unpacks an archive for as long as use looks at it. The error matches
// archive.ErrFormat if it is none.
func withArchive(ctx context.Context, l *warehouse.Local, path string, o pack.BuildOptions, use func(*operand) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	used := false
	var useErr error
	o.Name = filepath.Base(path)
	o.Visit = func(f *pack.Fileset) error {
		used, useErr = true, use(&operand{f, path, true})
		return nil
	}
	_, err = archive.Unpack(ctx, l, file, o)
	if used && err == nil {
		return useErr // is not about unpacking
	}
	return err
}

// shortID is the beginning of an id that tells wares apart, for lines that have more
// to say.
func shortID(id warehouse.WareID) string {
	const digits = 12
	return id.Packtype + ":" + id.Hash[:min(len(id.Hash), digits)]
}
