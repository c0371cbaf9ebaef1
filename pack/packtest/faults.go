package packtest

import (
	"bytes"
	"context"
	"errors"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// twice makes the same ware several times at once, in one warehouse that is also open
// in another process.
func twice(t *testing.T, p Packtype) {
	ctx := context.Background()
	o := p.options(t, "")
	if dir := os.Getenv("KILN_PACKTEST_WAREHOUSE"); dir != "" {
		p.race(t, ctx, Local(t, dir), o)
		return
	}
	dir := tempDir(t)
	l := Local(t, dir)
	var wg sync.WaitGroup
	test := t.Name()
	t.Run("processes", func(t *testing.T) {
		wg.Go(func() {
			child(t, test, "twice", func(cmd *osexec.Cmd) { cmd.Env = append(cmd.Env, "KILN_PACKTEST_WAREHOUSE="+dir) })
		})
		p.race(t, ctx, l, o)
		wg.Wait()
		recs, err := l.List(ctx)
		must(t, err)
		trees := map[warehouse.WareID]bool{}
		for _, rec := range recs {
			trees[rec.Tree] = true
			must(t, pack.Check(ctx, l, rec.ID), l.Remove(rec.ID))
		}
		if len(trees) != 1 {
			t.Errorf("wares: %v", recs)
		}
		NothingLeft(t, l)
	})
}

func (p Packtype) race(t *testing.T, ctx context.Context, l *warehouse.Local, o pack.Options) {
	var wg sync.WaitGroup
	for name, way := range p.ways() {
		for range 3 {
			wg.Go(func() {
				rec, err := way(t, ctx, l, o, sample()...)
				if err == nil {
					err = pack.Check(ctx, l, rec.ID)
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
	wg.Wait()
}

// cancelled gives up while a large file is written.
func cancelled(t *testing.T, p Packtype) {
	big := File("big", string(bytes.Repeat([]byte("0123456789abcdef"), 4<<20)))
	for name, way := range p.ways() {
		t.Run(name, func(t *testing.T) {
			l := Local(t, "")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			o := p.options(t, "")
			o.Jobs = 1
			var seen int64
			o.Progress = func(_, bytes int64) { seen = bytes; cancel() }
			_, err := way(t, ctx, l, o, File("first", ""), big)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if seen == 0 || seen >= big.Size {
				t.Errorf("cancelled after %d of %d bytes: this tests nothing", seen, big.Size)
			}
			NothingLeft(t, l)
		})
	}
}

// full makes a ware that its file system has no room for, and then one it has.
func full(t *testing.T, p Packtype) {
	if !inChild(t, "full", func(cmd *osexec.Cmd) { oneID(cmd) }) {
		return
	}
	dir := tempDir(t)
	if err := unix.Mount("packtest", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("no file system of its own: ", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	o := p.options(t, "")
	for name, way := range p.ways() {
		if name == "adopt" { // which writes no content
			continue
		}
		t.Run(name, func(t *testing.T) {
			l := Local(t, dir)
			_, err := way(t, context.Background(), l, o, File("large", strings.Repeat("x", 5<<20)))
			if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "large") {
				t.Errorf("got %v", err)
			}
			NothingLeft(t, l)
			rec, err := way(t, context.Background(), l, o, sample()...)
			must(t, err, pack.Check(context.Background(), l, rec.ID), l.Remove(rec.ID))
		})
	}
}
