package main

import (
	"context"
	"errors"
	"path"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/git"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// packCommit makes a ware of a commit of the repository at a path or a url.
func (a *app) packCommit(ctx context.Context, f *warePackFlags, repository string) error {
	if f.archive || f.idOnly || f.Strip != 0 || len(f.Include)+len(f.Exclude) > 0 || f.Filters != (pack.Filters{}) {
		return errors.New("--packtype git names all of a commit: of other flags it takes --ref and the limits; a formula's ware can take a part of one")
	}
	cache, err := cacheDir("plan")
	if err != nil {
		return err
	}
	g := a.newGauge(ctx, path.Base(repository), "fetching", -1)
	defer g.close()
	return withWares(func(l *warehouse.Local) error {
		rec, err := plan.GitWare(ctx, repository, f.ref, plan.ResolveOptions{
			Warehouse: l, CacheDir: cache, MaxDownload: f.MaxBytes,
			Progress: func(p plan.Progress) {
				if !p.End {
					g.doing(string(p.Phase)+"ing", p.Done)
				}
			},
		})
		if err == nil {
			err = l.Sync()
		}
		return a.printID(g, rec.ID, err)
	})
}

// isGit reports whether f asks for a commit.
func (f *warePackFlags) isGit() bool { return f.Packtype == git.Packtype }
