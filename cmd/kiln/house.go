package main

import (
	"context"
	"errors"
	"path/filepath"
	"runtime/debug"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/gc"
)

// withHouse opens all that kiln keeps on disk for f, to be changed or only looked at.
func (a *app) withHouse(change bool, f func(gc.Options) error) error {
	data, err := homePath("KILN_DATA_HOME", "XDG_DATA_HOME", ".local/share")
	if err != nil {
		return err
	}
	cache, err := homePath("KILN_CACHE_HOME", "XDG_CACHE_HOME", ".cache")
	if err != nil {
		return err
	}
	with := readWares
	if change {
		with = withLocal
		if _, err := dataDir("memo"); err != nil {
			return err
		}
	}
	// What is held grows with the number of wares: let it not be twice that.
	debug.SetGCPercent(20)
	return with(func(l *warehouse.Local) error {
		runs := openRegistry(filepath.Join(data, "runs"))
		since, err := runs.InUseSince() // a container engine may have wares mounted for one
		if err != nil {
			return err
		}
		return f(gc.Options{
			UsedSince: since,
			Warehouse: l, Memos: warehouse.ReadMemos(filepath.Join(data, "memo")), Uses: warehouse.OpenUses(filepath.Join(data, "use")),
			Shelves: shelves(cache, filepath.Join(data, "runs"), runs), KeepFor: -1,
		})
	})
}

// shelves are the caches below a cache directory, and the runs.
func shelves(cache, dir string, runs *registry.Registry) []gc.Shelf {
	in := func(kind, dir, together string) gc.Shelf {
		return gc.Shelf{Kind: gc.Kind(kind), Dir: filepath.Join(cache, dir), Together: together, Cache: true}
	}
	return []gc.Shelf{
		in("git cache", "plan/git", ""),
		in("image cache", "plan/image", ""),
		in("download", "plan/download", ""),
		in("stat cache", "plan/stat", ""),
		in("history file", "plan/history", "."),
		in("layer cache", "layer", "."),
		in("partial download", "fetch", ""),
		{Kind: "scratch file", Dir: filepath.Join(cache, "plan"), Prefix: "text-", Cache: true},
		{
			Kind: "run", Dir: dir, Written: true,
			Remove: func(path string) error {
				err := runs.Remove(filepath.Base(path))
				if errors.Is(err, exec.ErrNoRun) {
					return runs.Sweep()
				}
				return err
			},
			Keep: func(path string) string {
				if runs.InUse(filepath.Base(path)) {
					return "it has not ended"
				}
				return ""
			},
		},
	}
}

// survey is gc.Survey with a gauge.
func (a *app) survey(ctx context.Context, o gc.Options) (*gc.Survey, error) {
	g := a.newGauge(ctx, "", "measuring", 0)
	defer g.close()
	o.Progress = func(what string) { g.next(what, 0) }
	return gc.Look(ctx, o)
}
