package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

const wareCatHelp = `cat writes the content of files of a ware to stdout. Paths begin at the ware's root,
with or without a slash; symlinks are followed inside the ware, where / is its root.
A ware that is one file needs no PATH.

Nothing is written of a file that no longer has the content it was packed with.`

func newWareCatCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "cat ID [PATH...]",
		Short:             "Write files of a ware to stdout",
		Long:              wareCatHelp,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeEntries,
		RunE: func(cmd *cobra.Command, args []string) error {
			return readWares(func(l *warehouse.Local) error { return a.wareCat(cmd.Context(), l, args[0], args[1:]) })
		},
	}
}

func (a *app) wareCat(ctx context.Context, l *warehouse.Local, id string, paths []string) error {
	f, _, err := openEntry(ctx, l, id, "")
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		paths = []string{""}
	}
	for _, path := range paths {
		if err := a.catEntry(ctx, f, path); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) catEntry(ctx context.Context, f *pack.Fileset, path string) error {
	e, err := resolveEntry(f, path)
	if err != nil {
		return err
	}
	if e.Kind == pack.KindDir {
		return withHint(fmt.Errorf("ware %s: %q is a directory", f.ID, shownPath(e.Path)), "kiln ware ls lists what it holds.")
	}
	file, err := f.Open(ctx, e)
	if err != nil {
		return fmt.Errorf("read ware %s: %w", f.ID, err)
	}
	defer file.Close()
	// Not io.Copy, which would not notice that ctx is cancelled.
	for buf := make([]byte, 128<<10); ctx.Err() == nil; {
		n, err := file.Read(buf)
		if _, err := a.stdout.Write(buf[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// openEntry opens the ware whose id begins with prefix, and finds what is at a path
// in it.
func openEntry(ctx context.Context, l *warehouse.Local, prefix, path string) (*pack.Fileset, pack.ListedEntry, error) {
	rec, err := findWare(ctx, l, prefix)
	if err != nil {
		return nil, pack.ListedEntry{}, err
	}
	f, err := pack.OpenFileset(ctx, l, rec)
	if err != nil {
		return nil, pack.ListedEntry{}, err
	}
	e, err := resolveEntry(f, path)
	return f, e, err
}

// resolveEntry finds what is at a path, or says what it may have been meant to be.
func resolveEntry(f *pack.Fileset, path string) (pack.ListedEntry, error) {
	e, err := f.Resolve(path)
	if err == nil {
		return e, nil
	}
	var missing *pack.NotFoundError
	if errors.As(err, &missing) {
		if near := nearPath(f, missing); near != "" {
			return e, withHint(fmt.Errorf("ware %s: %w", f.ID, err), fmt.Sprintf("Did you mean %s?", harmlessName(near)))
		}
	}
	return e, fmt.Errorf("ware %s: %w", f.ID, err)
}

// nearPath returns the path in a fileset that one which is not there may have been
// meant to be: of a name like it in the same directory, else of the same name
// somewhere else. "" if there is none.
func nearPath(f *pack.Fileset, missing *pack.NotFoundError) string {
	best, found := max(1, len(missing.Name)/3)+1, "" // more of it may not be wrong
	for _, name := range missing.Has {
		if d := levenshtein.Distance(strings.ToLower(missing.Name), strings.ToLower(name), nil); d < best && d < len(missing.Name) {
			best, found = d, name
		}
	}
	if found != "" {
		return strings.TrimPrefix(missing.Dir+"/"+found, "/")
	}
	base := missing.Path[strings.LastIndexByte(strings.TrimRight(missing.Path, "/"), '/')+1:]
	root, err := f.Root()
	if err != nil {
		return ""
	}
	for e, err := range f.Below(root) {
		if err == nil && e.Path != "" && e.Name() == base {
			return e.Path
		}
	}
	return ""
}

// completeEntries completes a ware id, then paths in that ware, a directory at a time.
func completeEntries(cmd *cobra.Command, args []string, toComplete string) (paths []cobra.Completion, d cobra.ShellCompDirective) {
	if len(args) == 0 {
		return completeWares(1)(cmd, args, toComplete)
	}
	d = cobra.ShellCompDirectiveNoFileComp
	_ = readWares(func(l *warehouse.Local) error {
		dir := toComplete[:strings.LastIndexByte(toComplete, '/')+1]
		f, e, err := openEntry(cmd.Context(), l, args[0], dir)
		if err != nil {
			return err
		}
		children, err := f.Children(e)
		for _, child := range children {
			path := dir + child.Name()
			if !strings.HasPrefix(path, toComplete) || harmlessName(path) != path {
				continue
			}
			if child.Kind == pack.KindDir {
				path += "/"
				d |= cobra.ShellCompDirectiveNoSpace
			}
			paths = append(paths, path)
		}
		return err
	})
	return paths, d
}
