package gc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/fsck"
	"github.com/kilnbuild/kiln/warehouse/gc"
)

// The test binary is also what is killed: KILN_TEST_CHILD says what it does.
func TestMain(m *testing.M) {
	dir := os.Getenv("KILN_TEST_HOUSE")
	switch os.Getenv("KILN_TEST_CHILD") {
	case "collect":
		os.Exit(childCollects(dir))
	case "build":
		os.Exit(childBuilds(dir))
	}
	os.Exit(m.Run())
}

func child(ctx context.Context, does, dir string) *osexec.Cmd {
	cmd := osexec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "KILN_TEST_CHILD="+does, "KILN_TEST_HOUSE="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

func failed(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func options(dir string) (gc.Options, error) {
	l, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	return gc.Options{
		Warehouse: l, Memos: warehouse.ReadMemos(filepath.Join(dir, "memo")), Uses: warehouse.OpenUses(filepath.Join(dir, "use")),
		KeepFor: -1, MaxBytes: 1, Fresh: time.Nanosecond,
	}, err
}

// childCollects removes what it can, once.
func childCollects(dir string) int {
	o, err := options(dir)
	if err != nil {
		return failed(err)
	}
	fmt.Println("ready")
	o.Removed = func(i gc.Item) { fmt.Println(i.Kind) } // at which it can be killed
	o.Progress = func(doing string) { fmt.Println(doing) }
	_, err = gc.Collect(context.Background(), o)
	return failed(err)
}

// childBuilds uses wares that others use and collectors take, one set after the other.
func childBuilds(dir string) int {
	o, err := options(dir)
	if err != nil {
		return failed(err)
	}
	o.Warehouse.Close()
	for range 40 {
		if err := build(dir); err != nil {
			return failed(err)
		}
	}
	return 0
}

// build does what a run does: it makes what is not there, holds it, and counts on it
// until it is done.
func build(dir string) error {
	l, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Hold(); err != nil {
		return err
	}
	var held []warehouse.WareID
	for range 5 {
		n := rand.IntN(12)
		for l.Hold(id(n)) != nil {
			if err := put(l, n); err != nil {
				return err
			}
		}
		held = append(held, id(n))
		for _, id := range held {
			rec, err := l.Get(id)
			if err == nil {
				_, err = os.Stat(l.Fileset(rec) + "/f")
			}
			if err != nil {
				return fmt.Errorf("held, and gone: %w", err)
			}
		}
	}
	return nil
}

// TestBesideBuilds: eight processes that build and two that collect all they can.
func TestBesideBuilds(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	results := make(chan error)
	for range 8 {
		go func() { results <- child(ctx, "build", h.dir).Run() }()
	}
	done := make(chan struct{})
	collected := make(chan error)
	for range 2 {
		go func() {
			for {
				if err := child(ctx, "collect", h.dir).Run(); err != nil {
					collected <- err
					return
				}
				select {
				case <-done:
					collected <- nil
					return
				default:
				}
			}
		}()
	}
	var err error
	for range 8 {
		err = errors.Join(err, <-results)
	}
	close(done)
	for range 2 {
		err = errors.Join(err, <-collected)
	}
	h.must(err)
	h.collect(0, 0)
	h.want(nil, nil)
	h.sound(nil)
}

// TestKilled: a collector that is killed loses nothing that is in use, leaves nothing
// half there, and what it leaves over is for the next.
func TestKilled(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 20
	}
	h := newHouse(t)
	var kept []warehouse.WareID
	for n := range 4 {
		kept = append(kept, h.ingest(1000+n))
	}
	h.use("project", 0, kept)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	var wares [12]warehouse.WareID
	killed := 0
	for range kills {
		for n := range wares {
			if !h.local.Has(wares[n]) {
				wares[n] = h.ingest(n)
			}
			h.memo(n, 1, wares[n])
		}
		cmd := child(context.Background(), "collect", h.dir)
		out, err := cmd.StdoutPipe()
		h.must(err)
		h.must(cmd.Start())
		// Some while after one of the some thirty lines that it writes.
		lines := bufio.NewScanner(out)
		for n := 1 + r.IntN(30); n > 0 && lines.Scan(); {
			n--
		}
		time.Sleep(time.Duration(r.Int64N(int64(time.Millisecond))))
		cmd.Process.Kill()
		for lines.Scan() {
		}
		if cmd.Wait() != nil {
			killed++
		}
		h.sound(kept)
	}
	if killed == 0 {
		t.Error("no collector was killed")
	}
	t.Logf("%d of %d killed", killed, kills)
	h.collect(-1, 1)
	filesets, err := os.ReadDir(filepath.Join(h.dir, "warehouse/fileset/tree"))
	h.must(err)
	staged, err := filepath.Glob(filepath.Join(h.dir, "warehouse/stage/*/*"))
	h.must(err)
	if len(filesets) != len(kept) || len(staged) > 0 {
		t.Errorf("left: %v, %v", filesets, staged)
	}
}

// ingest puts a ware with an id of its own there.
func (h *house) ingest(n int) warehouse.WareID {
	h.t.Helper()
	dir, err := os.MkdirTemp(h.dir, "source")
	h.must(err)
	defer os.RemoveAll(dir)
	for i := range 3 {
		h.must(os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), fmt.Appendf(nil, "%d %d", n, i), 0o644))
	}
	rec, err := pack.Ingest(context.Background(), h.local, dir, pack.Options{})
	h.must(err)
	return rec.ID
}

// sound says that all that is there is what it says, and that wares are there.
func (h *house) sound(wares []warehouse.WareID) {
	h.t.Helper()
	ctx := context.Background()
	r, err := fsck.Check(ctx, fsck.Options{
		Warehouse: h.local, Memos: h.memos,
		Verify: func(ctx context.Context, rec warehouse.Record) error {
			return pack.Verify(ctx, h.local, rec.ID, pack.VerifyOptions{Deep: true})
		},
		Corrupt: func(err error) bool { return errors.Is(err, pack.ErrCorrupt) },
		Found: func(f fsck.Finding) {
			if f.Bad() {
				h.t.Errorf("%+v", f)
			}
		},
	})
	h.must(err)
	if r.Wares < len(wares) {
		h.t.Errorf("%d wares", r.Wares)
	}
	for _, id := range wares {
		if !h.local.Has(id) {
			h.t.Errorf("%s is gone", id)
		}
	}
}
