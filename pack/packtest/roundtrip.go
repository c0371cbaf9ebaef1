package packtest

import (
	"archive/tar"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// keepAll are filters that keep all there is.
const keepAll = "uid=keep,gid=keep,mtime=keep,sticky=keep,setid=keep,dev=keep"

// options returns the options to pack with, given filters.
func (p Packtype) options(t testing.TB, filters string) pack.Options {
	t.Helper()
	f, err := pack.ParseFilters(filters)
	must(t, err)
	return pack.Options{Packtype: p.Packtype, Filters: f}
}

// kept returns what of entries the packed form keeps.
func (p Packtype) kept(entries []Entry) []Entry {
	var out []Entry
	for i, e := range entries {
		special := e.Typeflag == tar.TypeFifo || e.Typeflag == tar.TypeChar
		if p.Loses&LosesSpecial != 0 && special {
			continue
		}
		holds := func(o Entry) bool { return strings.HasPrefix(o.Name, e.Name+"/") }
		if p.Loses&LosesEmptyDirs != 0 && e.Typeflag == tar.TypeDir && !slices.ContainsFunc(entries[i:], holds) {
			continue
		}
		if p.Loses&LosesModes != 0 && e.Typeflag != tar.TypeSymlink {
			if e.Mode&0o100 != 0 {
				e.Mode = 0o755
			} else {
				e.Mode = 0o644
			}
		}
		if p.Loses&LosesNanoseconds != 0 {
			e.ModTime = e.ModTime.Truncate(time.Second)
		}
		out = append(out, e)
	}
	return out
}

// filters that leave out of ids what the packed form leaves out of filesets.
func (p Packtype) lossless() string {
	f := "setid=keep,dev=keep,sticky=keep"
	if p.Loses&LosesMtimes == 0 {
		f += ",mtime=keep"
	}
	if p.Loses&LosesOwners == 0 {
		f += ",uid=keep,gid=keep"
	}
	return f
}

// write is as the function, for what the packed form keeps.
func (p Packtype) write(t testing.TB, root string, entries ...Entry) string {
	t.Helper()
	write(t, root, p.kept(entries)...)
	switch {
	case p.Loses&LosesRoot != 0: // then it is as any parent that is not told of
		setMtime(t, root, time.Unix(1262304000, 0))
	case p.Loses&LosesNanoseconds != 0:
		setMtime(t, root, Then.Truncate(time.Second))
	}
	return root
}

// pack packs the fileset at dir.
func (p Packtype) pack(t testing.TB, dir string) string {
	t.Helper()
	dst := filepath.Join(tempDir(t), "packed")
	p.Pack(t, dir, dst)
	return dst
}

func (p Packtype) unpack(t testing.TB, l *warehouse.Local, src string, o pack.Options) warehouse.Record {
	t.Helper()
	rec, err := p.Unpack(context.Background(), l, src, pack.BuildOptions{Options: o, Name: "packed"})
	must(t, err)
	return rec
}

// same checks that a ware is the fileset that was scanned.
func (p Packtype) same(t testing.TB, l *warehouse.Local, rec warehouse.Record, want pack.Result) {
	t.Helper()
	if rec.Tree != want.Tree || p.Packtype != "" && rec.ID != want.ID {
		t.Errorf("got %s, %s, want %s, %s", rec.ID, rec.Tree, want.ID, want.Tree)
	}
	if rec.Entries != want.Entries || rec.Bytes != want.Bytes {
		t.Errorf("got %d entries, %d bytes, want %d, %d", rec.Entries, rec.Bytes, want.Entries, want.Bytes)
	}
	must(t, pack.Check(context.Background(), l, rec.ID))
	after, err := l.Get(rec.ID)
	must(t, err)
	if after.Stamp != rec.Stamp {
		t.Error("the stamp was wrong: the first check hashed the fileset again")
	}
}

// A way makes a ware of the fileset that entries describe.
type way func(t testing.TB, ctx context.Context, l *warehouse.Local, o pack.Options, entries ...Entry) (warehouse.Record, error)

// ways are all there are for a packtype.
func (p Packtype) ways() map[string]way {
	ways := map[string]way{
		"ingest": func(t testing.TB, ctx context.Context, l *warehouse.Local, o pack.Options, entries ...Entry) (warehouse.Record, error) {
			return pack.Ingest(ctx, l, p.write(t, tempDir(t)+"/src", entries...), o)
		},
		"adopt": func(t testing.TB, ctx context.Context, l *warehouse.Local, o pack.Options, entries ...Entry) (warehouse.Record, error) {
			staged, err := l.Stage("test")
			must(t, err)
			defer warehouse.RemoveTree(staged)
			return pack.Adopt(ctx, l, p.write(t, staged+"/out", entries...), o)
		},
	}
	if p.Pack != nil {
		ways["unpack"] = func(t testing.TB, ctx context.Context, l *warehouse.Local, o pack.Options, entries ...Entry) (warehouse.Record, error) {
			src := p.pack(t, p.write(t, tempDir(t)+"/src", entries...))
			return p.Unpack(ctx, l, src, pack.BuildOptions{Options: o, Name: "packed", MaxRatio: -1})
		}
	}
	return ways
}

// roundTrip makes a ware in every way there is and expects one id, also of what is
// exported again.
func roundTrip(t *testing.T, p Packtype) {
	ctx := context.Background()
	for _, filters := range []string{"", p.lossless()} {
		o := p.options(t, filters)
		want, err := pack.Scan(ctx, p.write(t, tempDir(t)+"/src", sample()...), o)
		must(t, err)
		for name, way := range p.ways() {
			t.Run(name+" "+filters, func(t *testing.T) {
				l := Local(t, "")
				rec, err := way(t, ctx, l, o, sample()...)
				must(t, err)
				p.same(t, l, rec, want)
				out := tempDir(t) + "/out"
				must(t, pack.Export(ctx, l, rec.ID, out, pack.ExportOptions{}))
				// Owners are not kept at rest.
				at := p.options(t, strings.ReplaceAll(filters, "uid=keep,gid=keep", "uid=0,gid=0"))
				exported, err := pack.Scan(ctx, out, at)
				must(t, err)
				want, err := pack.Scan(ctx, p.write(t, tempDir(t)+"/src", sample()...), at)
				must(t, err)
				if exported.ID != want.ID {
					t.Errorf("exported it is %s, want %s", exported.ID, want.ID)
				}
			})
		}
	}
}
