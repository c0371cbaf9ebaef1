package gc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/gc"
)

// A house is a data directory of tests.
type house struct {
	t     *testing.T
	dir   string
	local *warehouse.Local
	memos *warehouse.Memos
	uses  *warehouse.Uses
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, dir: t.TempDir()}
	h.local = h.open()
	var err error
	h.memos, err = warehouse.OpenMemos(filepath.Join(h.dir, "memo"))
	h.must(err)
	h.uses = warehouse.OpenUses(filepath.Join(h.dir, "use"))
	return h
}

func (h *house) open() *warehouse.Local {
	l, err := warehouse.OpenLocal(filepath.Join(h.dir, "warehouse"))
	h.must(err)
	h.t.Cleanup(func() { l.Close() })
	return l
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func id(n int) warehouse.WareID {
	return warehouse.WareID{Packtype: "tree", Hash: fmt.Sprintf("%064x-1", n)}
}

func key(n int) warehouse.StepKey { return warehouse.StepKey(fmt.Sprintf("%064x", n)) }

// ware puts a ware of one file of 64 KiB there, last used days ago.
func (h *house) ware(n, days int) warehouse.WareID {
	h.t.Helper()
	h.must(put(h.local, n))
	h.age("warehouse/record/tree/"+id(n).Hash+".json", days)
	return id(n)
}

func put(l *warehouse.Local, n int) error {
	staged, err := l.Stage("test")
	if err == nil {
		err = os.WriteFile(staged+"/f", make([]byte, 64<<10), 0o644)
	}
	if err == nil {
		err = l.Commit(staged, warehouse.Record{ID: id(n), Tree: id(n), Entries: 2, Bytes: 64 << 10})
	}
	return err
}

// memo remembers step n to have made wares, last used days ago.
func (h *house) memo(n, days int, made ...warehouse.WareID) {
	h.t.Helper()
	m := warehouse.Memo{Key: key(n), Step: fmt.Sprint("step.s", n), Outputs: map[string]warehouse.WareID{}}
	for i, id := range made {
		m.Outputs[fmt.Sprint(i)] = id
	}
	h.must(h.memos.Put(m))
	h.age("memo/"+string(key(n))+".json", days)
}

func (h *house) age(path string, days int) {
	h.t.Helper()
	at := time.Now().Add(-time.Duration(days) * 24 * time.Hour)
	h.must(os.Chtimes(filepath.Join(h.dir, path), at, at))
}

// use says that the formula in dir uses wares and memos, and did days ago.
func (h *house) use(name string, days int, wares []warehouse.WareID, memos ...warehouse.StepKey) (lock string) {
	h.t.Helper()
	dir := filepath.Join(h.dir, name)
	lock = filepath.Join(dir, "kiln.lock.hcl")
	h.must(os.MkdirAll(dir, 0o755))
	h.must(os.WriteFile(lock, nil, 0o644))
	h.must(h.uses.Note(warehouse.Use{Lock: lock, Formula: dir, Digest: name}, h.memos, func(u *warehouse.Use) { u.Wares, u.Memos = wares, memos }))
	files, err := filepath.Glob(filepath.Join(h.dir, "use", "*"))
	h.must(err)
	for _, file := range files {
		if text, _ := os.ReadFile(file); strings.Contains(string(text), lock) {
			rel, _ := filepath.Rel(h.dir, file)
			h.age(rel, days)
		}
	}
	return lock
}

func (h *house) collect(days int, most int64, change ...func(*gc.Options)) *gc.Report {
	h.t.Helper()
	o := gc.Options{Warehouse: h.local, Memos: h.memos, Uses: h.uses, KeepFor: time.Duration(days) * 24 * time.Hour, MaxBytes: most, Fresh: time.Nanosecond}
	if days < 0 {
		o.KeepFor = -1
	}
	for _, c := range change {
		c(&o)
	}
	r, err := gc.Collect(context.Background(), o)
	h.must(err)
	return r
}

// want says which wares and memos are there.
func (h *house) want(wares []int, memos []int) {
	h.t.Helper()
	var gotWares, gotMemos []int
	for n := range 64 {
		if h.local.Has(id(n)) {
			gotWares = append(gotWares, n)
			if _, err := os.Stat(h.local.Fileset(warehouse.Record{ID: id(n)})); err != nil {
				h.t.Error(err)
			}
		}
		if _, err := h.memos.Get(key(n)); err == nil {
			gotMemos = append(gotMemos, n)
		}
	}
	if fmt.Sprint(gotWares) != fmt.Sprint(wares) || fmt.Sprint(gotMemos) != fmt.Sprint(memos) {
		h.t.Errorf("wares %v, want %v; memos %v, want %v", gotWares, wares, gotMemos, memos)
	}
}

func TestAge(t *testing.T) {
	h := newHouse(t)
	h.memo(1, 40, h.ware(1, 50))
	h.memo(2, 20, h.ware(2, 50)) // its ware is as young as it
	h.memo(3, 40, h.ware(3, 10)) // its ware was used since
	h.ware(4, 31)
	r := h.collect(30, 0)
	h.want([]int{2, 3}, []int{2})
	if r.Removed[gc.KindWare].Count != 2 || r.Removed[gc.KindMemo].Count != 2 || r.Over != 0 {
		t.Errorf("%+v", r)
	}
}

// TestSize: least recently used first, each step with what only it has made, and no more
// than is needed.
func TestSize(t *testing.T) {
	h := newHouse(t)
	shared := h.ware(1, 60)
	h.memo(1, 9, h.ware(2, 60), shared)
	h.memo(2, 8, shared)
	h.memo(3, 7, h.ware(3, 60))
	h.ware(4, 6)
	before := h.collect(-1, 0).Before
	r := h.collect(-1, before-1)
	h.want([]int{1, 2, 3, 4}, []int{2, 3}) // the memo alone was enough
	if r.Before-r.Freed > before-1 {
		t.Errorf("%d left", r.Before-r.Freed)
	}
	h.collect(-1, r.Before-r.Freed-1)
	h.want([]int{1, 3, 4}, []int{2, 3})
	h.collect(-1, 100<<10)
	h.want([]int{4}, nil)
	h.collect(-1, 1)
	h.want(nil, nil)
}

// TestRoots: what a formula in use needs stays, and a limit that has no room for it is
// said to be too small.
func TestRoots(t *testing.T) {
	h := newHouse(t)
	h.memo(1, 50, h.ware(1, 50))
	lock := h.use("project", 5, []warehouse.WareID{h.ware(2, 50)}, key(1))
	h.memo(2, 1, h.ware(3, 1))
	r := h.collect(30, 1)
	h.want([]int{1, 2}, []int{1})
	if r.Over <= 0 || r.Over != r.Before-r.Freed-1 || r.Rooted != r.Before-r.Freed || len(r.Roots) != 1 || r.Roots[0].Lock != lock {
		t.Errorf("%+v", r)
	}
	h.must(os.Remove(lock))
	if r := h.collect(30, 1); r.Over != 0 || len(r.Roots) != 0 {
		t.Errorf("%+v", r)
	}
	h.want(nil, nil)

	h.memo(1, 50, h.ware(1, 50))
	h.use("old", 31, nil, key(1)) // its lock file is there, but nobody has used it for long
	h.collect(30, 0)
	h.want(nil, nil)
}

// TestUseIsNotedForStepsThatAreGone: a formula that is changed does not make what it
// used yesterday look as old as it is.
func TestUseIsNotedForStepsThatAreGone(t *testing.T) {
	h := newHouse(t)
	h.memo(1, 50, h.ware(1, 50))
	h.memo(2, 50, h.ware(2, 50))
	lock := h.use("project", 1, nil, key(1))
	h.must(h.uses.Note(warehouse.Use{Lock: lock, Formula: filepath.Dir(lock), Digest: "changed"}, h.memos, func(u *warehouse.Use) {}))
	h.must(os.Remove(lock))
	h.collect(30, 0)
	h.want([]int{1}, []int{1})
}

// TestHeld: what somebody holds stays while it is open, and nothing of who died.
func TestHeld(t *testing.T) {
	h := newHouse(t)
	h.memo(1, 50, h.ware(1, 50))
	h.ware(2, 50)
	h.must(h.local.Alias(warehouse.Record{ID: warehouse.WareID{Packtype: "git", Hash: "abcd"}, Tree: id(2)}))
	h.age("warehouse/record/git/abcd.json", 50)
	h.age("warehouse/record/tree/"+id(2).Hash+".json", 50)
	other := h.open()
	h.must(other.Hold(id(1), warehouse.WareID{Packtype: "git", Hash: "abcd"}))
	if err := other.Hold(id(3)); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("got %v", err)
	}
	h.age("warehouse/record/tree/"+id(1).Hash+".json", 50) // as if it had been noted long ago
	if r := h.collect(0, 1); r.Running != 1 || r.Over <= 0 {
		t.Errorf("%+v", r)
	}
	h.want([]int{1, 2}, nil)
	if !h.local.Has(warehouse.WareID{Packtype: "git", Hash: "abcd"}) {
		t.Error("the alias is gone")
	}
	h.must(other.Close())
	h.must(os.WriteFile(filepath.Join(h.dir, "warehouse/lease/dead"), []byte(id(1).String()+"\n"), 0o600))
	if r := h.collect(0, 1); r.Running != 0 || r.Over != 0 {
		t.Errorf("%+v", r)
	}
	h.want(nil, nil)
	if left, _ := filepath.Glob(filepath.Join(h.dir, "warehouse/lease/*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestUsedSince: what a run uses that goes on without a process stays.
func TestUsedSince(t *testing.T) {
	h := newHouse(t)
	h.ware(1, 50)
	h.ware(2, 50)
	other := h.open()
	submitted := time.Now()
	h.must(other.Hold(id(1)))
	h.must(other.Close())
	h.collect(0, 1, func(o *gc.Options) { o.UsedSince = submitted })
	h.want([]int{1}, nil)

	// The clock of file systems is a little behind, and so in the second before now and then.
	submitted = submitted.Truncate(time.Second)
	noted := submitted.Add(-4 * time.Millisecond)
	h.must(os.Chtimes(filepath.Join(h.dir, "warehouse/record/tree/"+id(1).Hash+".json"), noted, noted))
	h.collect(0, 1, func(o *gc.Options) { o.UsedSince = submitted })
	h.want([]int{1}, nil)
}

// TestFresh: what was just put there is kept while anybody is at work, who may have
// put it there.
func TestFresh(t *testing.T) {
	h := newHouse(t)
	h.must(put(h.local, 1))
	other := h.open()
	h.must(other.Hold())
	h.collect(0, 1, func(o *gc.Options) { o.Fresh = 0 })
	h.want([]int{1}, nil)
	h.collect(0, 1)
	h.want(nil, nil)
}

// TestUsedMeanwhile: what is used between being chosen and being removed stays.
func TestUsedMeanwhile(t *testing.T) {
	for name, use := range map[string]func(h *house, other *warehouse.Local){
		"held":      func(h *house, other *warehouse.Local) { h.must(other.Hold(id(1))) },
		"committed": func(h *house, other *warehouse.Local) { h.must(put(other, 1)) },
		"named": func(h *house, other *warehouse.Local) {
			h.must(other.Alias(warehouse.Record{ID: warehouse.WareID{Packtype: "git", Hash: "abcd"}, Tree: id(1)}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.ware(1, 50)
			h.ware(2, 50)
			other := h.open()
			h.collect(30, 0, func(o *gc.Options) {
				o.Progress = func(doing string) {
					if doing == "listing caches" { // the last thing before it removes
						use(h, other)
					}
				}
			})
			h.want([]int{1}, nil)
		})
	}
}

// TestClock: a time that is yet to come, such as a wrong clock leaves, counts as now, and
// begins to age.
func TestClock(t *testing.T) {
	h := newHouse(t)
	h.memo(1, -1000, h.ware(1, -1000))
	h.ware(2, 3)
	h.collect(30, 100<<10)
	h.want([]int{1}, []int{1})
	later := func(o *gc.Options) { o.Now = func() time.Time { return time.Now().Add(31 * 24 * time.Hour) } }
	h.collect(30, 0, later)
	h.want(nil, nil)
	h.ware(3, 0)
	earlier := func(o *gc.Options) { o.Now = func() time.Time { return time.Now().Add(-100 * 24 * time.Hour) } }
	h.collect(30, 0, earlier)
	h.want([]int{3}, nil)
}

// TestBroken: what nobody can use goes, whatever is kept.
func TestBroken(t *testing.T) {
	h := newHouse(t)
	h.memo(1, 0, h.ware(1, 0))
	h.memo(2, 0, id(9)) // which is not there
	h.memo(3, 0, id(9))
	elsewhere := warehouse.Memo{Key: key(4), Outputs: map[string]warehouse.WareID{"out": id(9)}, Origin: "s3://bucket"}
	h.must(h.memos.Put(elsewhere)) // there it may be
	h.use("project", 0, nil, key(3))
	h.must(os.MkdirAll(filepath.Join(h.dir, "warehouse/fileset/tree/cccc-1/d"), 0o755))
	h.must(os.MkdirAll(filepath.Join(h.dir, "warehouse/stage/dead/x"), 0o755))
	h.must(os.MkdirAll(filepath.Join(h.dir, "warehouse/work/run-dead/x"), 0o755))
	h.must(os.WriteFile(filepath.Join(h.dir, "warehouse/record/tree/dddd-1.dirs"), []byte("x"), 0o644))
	h.must(os.WriteFile(filepath.Join(h.dir, "warehouse/record/tree/eeee-1.json"), nil, 0o644))
	h.must(os.WriteFile(filepath.Join(h.dir, "memo", string(key(5))+".json"), []byte("{"), 0o644))
	h.must(os.MkdirAll(filepath.Join(h.dir, "memo", string(key(6))+".json", "x"), 0o755))
	h.must(os.MkdirAll(filepath.Join(h.dir, "warehouse/record/tree/ffff-1.json/x"), 0o755))
	h.collect(-1, 0)
	h.want([]int{1}, []int{1, 4})
	for _, path := range []string{"fileset/tree/cccc-1", "stage/dead", "work/run-dead", "record/tree/dddd-1.dirs", "record/tree/eeee-1.json", "record/tree/ffff-1.json"} {
		if _, err := os.Lstat(filepath.Join(h.dir, "warehouse", path)); err == nil {
			t.Errorf("%s is there", path)
		}
	}
}

// TestShelves: caches and what else there is go like wares, but not from under a kiln
// that is at work.
func TestShelves(t *testing.T) {
	h := newHouse(t)
	h.must(os.MkdirAll(filepath.Join(h.dir, "cache/repo"), 0o755))
	for _, name := range []string{"repo/pack", "ab.json", "ab.memos", "new"} {
		h.must(os.WriteFile(filepath.Join(h.dir, "cache", name), make([]byte, 8192), 0o600))
		h.age("cache/"+name, 40)
	}
	h.age("cache/new", 0)
	h.age("cache/repo", 40)
	shelf := func(o *gc.Options) {
		o.Shelves = []gc.Shelf{{Kind: "cache", Dir: filepath.Join(h.dir, "cache"), Together: ".", Cache: true}}
	}
	left := func() string {
		names, err := filepath.Glob(filepath.Join(h.dir, "cache/*"))
		h.must(err)
		for i := range names {
			names[i] = filepath.Base(names[i])
		}
		return strings.Join(names, " ")
	}
	other := h.open()
	h.must(other.Hold())
	if r := h.collect(30, 0, shelf); r.Removed["cache"].Count != 2 || left() != "new" {
		t.Errorf("%+v, left: %s", r, left())
	}
	if r := h.collect(0, 0, shelf); left() != "new" {
		t.Errorf("%+v, left: %s", r, left())
	}
	h.must(other.Close())
	if r := h.collect(0, 0, shelf); left() != "" {
		t.Errorf("%+v, left: %s", r, left())
	}
}

// TestDryRun changes nothing, and says what would be.
func TestDryRun(t *testing.T) {
	h := newHouse(t)
	h.memo(1, 40, h.ware(1, 50))
	h.ware(2, 1)
	var items []gc.Item
	dry := h.collect(30, 0, func(o *gc.Options) {
		o.DryRun, o.Removed = true, func(i gc.Item) { items = append(items, i) }
	})
	h.want([]int{1, 2}, []int{1})
	if len(items) != 2 || items[0].Kind != gc.KindMemo || items[1].Name != id(1).String() || items[1].Why != "age" {
		t.Errorf("%+v", items)
	}
	reader, err := warehouse.OpenReader(filepath.Join(h.dir, "warehouse"))
	h.must(err)
	read := h.collect(30, 0, func(o *gc.Options) { o.DryRun, o.Warehouse = true, reader })
	real := h.collect(30, 0)
	h.want([]int{2}, nil)
	if dry.Freed != real.Freed || read.Freed != real.Freed {
		t.Errorf("%d, %d and %d bytes", dry.Freed, read.Freed, real.Freed)
	}
	if _, err := gc.Collect(context.Background(), gc.Options{Warehouse: reader, Memos: h.memos, Uses: h.uses, KeepFor: 0}); err != nil {
		if !errors.Is(err, warehouse.ErrReadOnly) {
			t.Errorf("got %v", err)
		}
	}
}
