package packtest

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
)

// swapped unpacks while something else puts symlinks to the outside in the place of
// the directories that are being filled.
func (p Packtype) swapped(t *testing.T) {
	y := newYard(t)
	var entries []Entry
	for i := range 200 {
		entries = append(entries, File("d/canary", "evil"), File("d/x", "evil"), Dir("other"))
		entries[3*i].Name += strings.Repeat("x", i)
		entries[3*i+1].Name += strings.Repeat("y", i)
	}
	src := tempDir(t) + "/packed"
	p.Encode(t, src, entries...)
	stop, done := make(chan bool), make(chan int)
	go func() {
		swaps := 0
		for {
			select {
			case <-stop:
				done <- swaps
				return
			default:
			}
			found, _ := filepath.Glob(y.l.Dir() + "/stage/*/build-*/d")
			for _, d := range found {
				if os.Rename(d, d+".aside") == nil && os.Symlink(y.dir, d) == nil {
					swaps++
					os.Remove(d)
					os.Rename(d+".aside", d)
				}
			}
		}
	}()
	refused := 0
	for range 20 {
		rec, err := p.Unpack(context.Background(), y.l, src, pack.BuildOptions{Name: "packed"})
		if err != nil {
			refused++
			continue
		}
		must(t, y.l.Remove(rec.ID))
	}
	close(stop)
	t.Logf("%d swaps, %d of 20 refused", <-done, refused)
	y.alive(t)
}

// truncated cuts the packed form short at many places: none is taken for the whole.
func (p Packtype) truncated(t *testing.T) {
	p.damaged(t, func(file string) func(at int) {
		return func(at int) { must(t, os.Truncate(file, int64(at))) }
	}, func(at int, file string, same bool) {
		if !same {
			t.Errorf("%s cut after %d bytes unpacks to something else", file, at)
		} else if p.NoEnd == nil || !p.NoEnd(file, at) {
			t.Errorf("%s cut after %d bytes unpacks as if it were whole", file, at)
		}
	})
}

// flipped flips single bits. If the packed form has checksums, no flip gives another fileset.
func (p Packtype) flipped(t *testing.T) {
	p.damaged(t, func(file string) func(at int) {
		return func(at int) {
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			var b [1]byte
			_, err = f.ReadAt(b[:], int64(at))
			must(t, err)
			b[0] ^= 1 << (at % 8)
			_, err = f.WriteAt(b[:], int64(at))
			must(t, err)
		}
	}, func(at int, file string, same bool) {
		if !same && p.Checked {
			t.Errorf("%s with a bit of byte %d flipped unpacks to something else", file, at)
		}
	})
}

// damaged damages each file of a packed form at up to 150 places, unpacks it, and tells
// taken of what was unpacked, and whether it was the same as before.
func (p Packtype) damaged(t *testing.T, damage func(file string) func(at int), taken func(at int, file string, same bool)) {
	y := newYard(t)
	whole := tempDir(t) + "/whole"
	p.Encode(t, whole, File("a/b", "content\n"), File("run", strings.Repeat("#!/bin/sh\n", 40)).mode(0o755), Symlink("l", "a/b"))
	ctx := context.Background()
	want := p.unpack(t, y.l, whole, p.options(t, ""))
	must(t, y.l.Remove(want.ID))
	must(t, filepath.WalkDir(whole, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		must(t, err, os.Chmod(path, 0o644))
		rel, _ := filepath.Rel(whole, path)
		do := damage(path)
		for _, at := range places(len(data)) {
			do(at)
			rec, err := p.Unpack(ctx, y.l, whole, pack.BuildOptions{Options: p.options(t, ""), Name: "damaged", MaxBytes: 1 << 20, MaxEntries: 100})
			if err == nil {
				taken(at, rel, rec.Tree == want.Tree)
				must(t, y.l.Remove(rec.ID))
			} else if !strings.Contains(err.Error(), "damaged") {
				t.Errorf("the error does not name the archive: %v", err)
			} else {
				printable(t, err)
			}
			must(t, os.WriteFile(path, data, 0o644))
		}
		return nil
	}))
	NothingLeft(t, y.l)
	y.alive(t)
}

// places returns up to 150 offsets below size: the first and last ones, and some
// between.
func places(size int) []int {
	var at []int
	for i := 0; i < size; i++ {
		at = append(at, i)
		if i >= 50 && i < size-50 {
			i += max(0, (size-100)/50-1)
		}
	}
	return at
}
