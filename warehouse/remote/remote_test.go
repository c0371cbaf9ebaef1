package remote

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/seal"
	"github.com/kilnbuild/kiln/warehouse/stores"
	"golang.org/x/sys/unix"
)

// A team is a Set of directories, and what it has warned of.
type team struct {
	*Set
	t      *testing.T
	local  *warehouse.Local
	memos  *warehouse.Memos
	mu     sync.Mutex
	warned []string
}

// newTeam makes a Set whose warehouses are at dirs, each with what change says of it.
func newTeam(t *testing.T, secret *seal.Secret, dirs []string, change func(i int, w *Warehouse)) *team {
	t.Helper()
	tm := &team{t: t}
	var err error
	if tm.local, err = warehouse.OpenLocal(filepath.Join(t.TempDir(), "warehouse")); err != nil {
		t.Fatal(err)
	}
	if tm.memos, err = warehouse.OpenMemos(filepath.Join(t.TempDir(), "memo")); err != nil {
		t.Fatal(err)
	}
	trusted := func(key seal.Key) bool { return secret != nil && key == secret.Public() }
	o := Options{Local: tm.local, Memos: tm.memos, Secret: secret, Trusted: trusted, CacheDir: t.TempDir(), Warn: func(text string) {
		tm.mu.Lock()
		defer tm.mu.Unlock()
		tm.warned = append(tm.warned, text)
	}}
	for i, dir := range dirs {
		w := Warehouse{Name: string(rune('a' + i)), URL: "ca+file://" + dir, Read: true, Memos: true, Push: PushAll}
		w.Open = func(ctx context.Context) (warehouse.Store, error) { return stores.Open(ctx, w.URL, stores.Options{}) }
		if change != nil {
			change(i, &w)
		}
		o.Warehouses = append(o.Warehouses, w)
	}
	tm.Set = New(o)
	t.Cleanup(func() {
		tm.Close()
		tm.local.Close()
	})
	return tm
}

// ware puts a file with a text into the local warehouse.
func (tm *team) ware(text string) warehouse.WareID {
	tm.t.Helper()
	dir := tm.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte(text), 0o644); err != nil {
		tm.t.Fatal(err)
	}
	rec, err := pack.Ingest(tm.t.Context(), tm.local, dir, pack.Options{})
	if err != nil {
		tm.t.Fatal(err)
	}
	return rec.ID
}

func (tm *team) made(key string, id warehouse.WareID) Made {
	return Made{Memo: warehouse.Memo{Key: warehouse.StepKey(strings.Repeat(key, 64)), Step: "step.a", Isolation: "container", Outputs: map[string]warehouse.WareID{"out": id}}}
}

func (tm *team) push(made ...Made) error {
	p := tm.NewPusher(tm.t.Context(), nil)
	for _, m := range made {
		p.Add(m)
	}
	return p.Wait()
}

func newSecret(t *testing.T) *seal.Secret {
	t.Helper()
	s, err := seal.New()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// files returns the files below dir.
func files(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestShare(t *testing.T) {
	secret, dir := newSecret(t), t.TempDir()
	one, two := newTeam(t, secret, []string{dir}, nil), newTeam(t, secret, []string{dir}, nil)
	id, took := one.ware("made"), one.ware("taken")
	made := one.made("a", id)
	made.Took = []warehouse.WareID{took}
	if err := one.push(made, made); err != nil {
		t.Fatal(err)
	}
	memo := two.Memo(t.Context(), made.Memo.Key)
	if memo == nil || memo.Outputs["out"] != id || memo.Origin != "ca+file://"+dir {
		t.Fatalf("memo %+v, warned %v", memo, two.warned)
	}
	two.Flush()
	if kept, err := two.memos.Get(made.Memo.Key); err != nil || kept.Origin != memo.Origin {
		t.Errorf("kept %+v, %v", kept, err)
	}
	for _, want := range []warehouse.WareID{id, took} {
		if rec, err := two.Fetch(t.Context(), want, nil); err != nil || rec.ID != want || !two.local.Exists(want) {
			t.Errorf("fetched %v, %v", rec.ID, err)
		}
	}
	if !two.Reaches(memo) {
		t.Error("its wares cannot be reached")
	}
	two.Forget(memo.Key)
	if two.Reaches(memo) || two.Memo(t.Context(), memo.Key) != nil {
		t.Error("a forgotten memo counts")
	}
	if two.Memo(t.Context(), one.made("b", id).Memo.Key) != nil {
		t.Error("there is a memo that nobody has made")
	}
}

// TestForesee has a memo pushed under an early key too, and fetched by that alone.
func TestForesee(t *testing.T) {
	secret, dir := newSecret(t), t.TempDir()
	one := newTeam(t, secret, []string{dir}, nil)
	made := one.made("a", one.ware("made"))
	made.Early = warehouse.StepKey(strings.Repeat("e", 64))
	if err := one.push(made); err != nil {
		t.Fatal(err)
	}
	for _, path := range files(t, dir) {
		if strings.Contains(path, string(made.Memo.Key)) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	two := newTeam(t, secret, []string{dir}, nil)
	two.Foresee(t.Context(), made.Early)
	if two.Memo(t.Context(), made.Early) != nil {
		t.Error("there is a memo of the early key, which is no step's")
	}
	two.Flush()
	if keys, err := two.memos.Keys(); err != nil || len(keys) > 0 {
		t.Errorf("kept before anybody has asked for it: %v, %v", keys, err)
	}
	memo := two.Memo(t.Context(), made.Memo.Key)
	if memo == nil || memo.Outputs["out"] != made.Memo.Outputs["out"] || memo.Origin != "ca+file://"+dir {
		t.Fatalf("memo %+v, warned %v", memo, two.warned)
	}
	two.Flush()
	if _, err := two.memos.Get(made.Memo.Key); err != nil {
		t.Error(err)
	}

	stranger := newTeam(t, newSecret(t), []string{dir}, nil)
	stranger.Foresee(t.Context(), made.Early)
	if stranger.Memo(t.Context(), made.Memo.Key) != nil {
		t.Error("a memo counts that nobody trusted has signed")
	}
	if len(stranger.warned) != 1 || !strings.Contains(stranger.warned[0], "not trusted here") {
		t.Errorf("warned %q", stranger.warned)
	}
}

func TestPolicies(t *testing.T) {
	for _, tt := range []struct {
		name  string
		push  Push
		memos bool
		key   bool
		final bool
		files int // the output, its memo, what the step took
		warn  string
	}{
		{"all", PushAll, true, true, false, 3, ""},
		{"outputs of another step", PushOutputs, true, true, false, 0, ""},
		{"outputs", PushOutputs, true, true, true, 2, ""},
		{"never", PushNever, true, true, true, 0, ""},
		{"wares only", PushAll, false, true, false, 2, ""},
		{"no key", PushAll, true, false, false, 2, "kiln key new"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var secret *seal.Secret
			if tt.key {
				secret = newSecret(t)
			}
			dir := t.TempDir()
			tm := newTeam(t, secret, []string{dir}, func(_ int, w *Warehouse) { w.Push, w.Memos = tt.push, tt.memos })
			made := tm.made("a", tm.ware("made"))
			made.Took, made.Final = []warehouse.WareID{tm.ware("taken")}, tt.final
			if err := tm.push(made); err != nil {
				t.Fatal(err)
			}
			if got := files(t, dir); len(got) != tt.files {
				t.Errorf("pushed %v, want %d files", got, tt.files)
			}
			if text := strings.Join(tm.warned, "\n"); !strings.Contains(text, tt.warn) || tt.warn == "" && text != "" {
				t.Errorf("warned %q, want %q", text, tt.warn)
			}
			if tm.Pushes() != (tt.push != PushNever) {
				t.Errorf("pushes: %t", tm.Pushes())
			}
		})
	}
}

// TestOpenSteps: what could reach a network is nobody else's business.
func TestOpenSteps(t *testing.T) {
	secret, dir := newSecret(t), t.TempDir()
	one, two := newTeam(t, secret, []string{dir}, nil), newTeam(t, secret, []string{dir}, nil)
	made := one.made("a", one.ware("made"))
	made.Memo.Offline = "policy"
	if err := one.push(made); err != nil {
		t.Fatal(err)
	}
	if memo := two.Memo(t.Context(), made.Memo.Key); memo != nil {
		t.Errorf("pushed %+v", memo)
	}
	// One that a careless kiln has pushed all the same is not believed.
	sealed, err := secret.Seal(made.Memo)
	if err != nil {
		t.Fatal(err)
	}
	store, err := stores.Open(t.Context(), "ca+file://"+dir, stores.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.PutMemo(t.Context(), made.Memo.Key, sealed); err != nil {
		t.Fatal(err)
	}
	three := newTeam(t, secret, []string{dir}, nil)
	if memo := three.Memo(t.Context(), made.Memo.Key); memo != nil || len(three.warned) != 1 || !strings.Contains(three.warned[0], "could reach a network") {
		t.Errorf("got %+v, warned %v", memo, three.warned)
	}
}

func TestOrderAndLies(t *testing.T) {
	secret := newSecret(t)
	liar, honest, none := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "none")
	one := newTeam(t, secret, []string{liar, honest}, nil)
	id := one.ware("made")
	if err := one.push(one.made("a", id)); err != nil {
		t.Fatal(err)
	}
	for _, path := range files(t, liar) {
		if data, _ := os.ReadFile(path); !bytes.Contains(data, []byte("ed25519:")) {
			if err := os.WriteFile(path, []byte("<html>not what you want</html>"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	two := newTeam(t, secret, []string{none, liar, honest}, nil)
	for range 2 {
		if rec, err := two.Fetch(t.Context(), id, nil); err != nil || rec.ID != id {
			t.Fatalf("fetched %v, %v", rec.ID, err)
		}
		if err := two.local.Remove(id); err != nil {
			t.Fatal(err)
		}
	}
	gone := slices.IndexFunc(two.warned, func(s string) bool { return strings.HasPrefix(s, "warehouse a is left out") })
	lied := slices.IndexFunc(two.warned, func(s string) bool { return strings.Contains(s, "warehouse b") && !strings.Contains(s, "left out") })
	if len(two.warned) != 2 || gone < 0 || lied < 0 {
		t.Errorf("warned %q", two.warned)
	}
	three := newTeam(t, secret, []string{none, liar}, nil)
	_, err := three.Fetch(t.Context(), id, nil)
	if !errors.Is(err, warehouse.ErrMissing) || !errors.Is(err, warehouse.ErrMismatch) || !strings.Contains(err.Error(), "warehouse a") || !strings.Contains(err.Error(), "warehouse b") {
		t.Errorf("nobody gives it: %v", err)
	}
	if three.local.Exists(id) {
		t.Error("a lie was kept")
	}
	var nobody *Set
	if _, err := nobody.Fetch(t.Context(), id, nil); !errors.Is(err, warehouse.ErrMissing) || nobody.Any() || nobody.Pushes() || nobody.Close() != nil {
		t.Errorf("no set: %v", err)
	}
}

// TestTogether: a ware that many want at once is fetched once.
func TestTogether(t *testing.T) {
	secret, dir := newSecret(t), t.TempDir()
	one, two := newTeam(t, secret, []string{dir}, nil), newTeam(t, secret, []string{dir}, nil)
	id := one.ware("made")
	if err := one.push(one.made("a", id)); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := two.Fetch(t.Context(), id, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	three := newTeam(t, secret, []string{dir}, nil)
	if _, err := three.Fetch(ctx, id, nil); !errors.Is(err, context.Canceled) || len(three.warned) > 0 || !three.Any() {
		t.Errorf("cancelled: %v, warned %v", err, three.warned)
	}
}

// TestAskedTooLong: a run may be over, and its Set closed, before an answer comes.
func TestAskedTooLong(t *testing.T) {
	secret, dir := newSecret(t), t.TempDir()
	one := newTeam(t, secret, []string{dir}, nil)
	made := one.made("a", one.ware("made"))
	if err := one.push(made); err != nil {
		t.Fatal(err)
	}
	var two *team
	two = newTeam(t, secret, []string{dir}, func(_ int, w *Warehouse) {
		open := w.Open
		w.Open = func(ctx context.Context) (warehouse.Store, error) {
			store, err := open(ctx)
			return &closing{Store: store, set: two}, err
		}
	})
	if memo := two.Memo(t.Context(), made.Memo.Key); memo == nil {
		t.Error("no answer")
	}
	two.Set = nil // closed already
}

// closing closes its Set while it is asked.
type closing struct {
	warehouse.Store
	set *team
}

func (c *closing) Memo(ctx context.Context, key warehouse.StepKey) ([]byte, error) {
	sealed, err := c.Store.Memo(ctx, key)
	if err := c.set.Set.Close(); err != nil {
		return nil, err
	}
	return sealed, err
}

// TestNoRoomHere: that this machine's disk is full is said of this machine, and the
// warehouse stays in use.
func TestNoRoomHere(t *testing.T) {
	dir := t.TempDir()
	one := newTeam(t, nil, []string{dir}, nil)
	large := one.ware(strings.Repeat("0123456789abcdef", 1<<16))
	small := one.ware("small")
	for _, id := range []warehouse.WareID{large, small} {
		if err := one.Put(t.Context(), "a", id, nil); err != nil {
			t.Fatal(err)
		}
	}
	full := t.TempDir()
	if err := unix.Mount("kiln-test", full, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip("a small file system needs root: ", err)
	}
	t.Cleanup(func() { unix.Unmount(full, unix.MNT_DETACH) })
	local, err := warehouse.OpenLocal(filepath.Join(full, "warehouse"))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	other := newTeam(t, nil, []string{dir}, nil)
	other.o.Local = local
	_, err = other.Fetch(t.Context(), large, nil)
	if !errors.Is(err, unix.ENOSPC) || errors.Is(err, warehouse.ErrMissing) || !strings.Contains(err.Error(), "this machine has no room") {
		t.Errorf("fetched into a full disk: %v", err)
	}
	if _, err := other.Fetch(t.Context(), small, nil); err != nil || len(other.warned) > 0 {
		t.Errorf("then: %v, warned of %q", err, other.warned)
	}
}

// TestPushDamaged: that a ware was changed on this machine's disk is said of that ware,
// and other wares are pushed.
func TestPushDamaged(t *testing.T) {
	one := newTeam(t, newSecret(t), []string{t.TempDir()}, nil)
	bad, good := one.ware("text"), one.ware("good")
	rec, err := one.local.Get(bad)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(one.local.Fileset(rec), "text"), []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := one.push(one.made("a", bad)); err == nil {
		t.Error("pushed")
	}
	if err := one.push(one.made("b", good)); err != nil {
		t.Errorf("then: %v", err)
	}
	if len(one.warned) != 1 || !strings.Contains(one.warned[0], "not pushed to warehouse a: here, in "+one.local.Dir()) {
		t.Errorf("warned of %q", one.warned)
	}
}

// TestNoRoomToPack: that this machine's disk is too full to pack what is pushed is said
// of this machine, once, and what needs less room is pushed.
func TestNoRoomToPack(t *testing.T) {
	full := t.TempDir()
	if err := unix.Mount("kiln-test", full, "tmpfs", 0, "size=512k"); err != nil {
		t.Skip("a small file system needs root: ", err)
	}
	t.Cleanup(func() { unix.Unmount(full, unix.MNT_DETACH) })
	local, err := warehouse.OpenLocal(filepath.Join(full, "warehouse"))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	one := newTeam(t, newSecret(t), []string{t.TempDir()}, nil)
	one.o.Local, one.local = local, local
	noise := make([]byte, 300<<10)
	rand.NewChaCha8([32]byte{}).Read(noise)
	large, small := one.ware(string(noise)), one.ware("small")
	for range 2 {
		if err := one.push(one.made("a", large)); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("pushed from a full disk: %v", err)
		}
	}
	if err := one.push(one.made("b", small)); err != nil {
		t.Errorf("then: %v", err)
	}
	if len(one.warned) != 1 || !strings.Contains(one.warned[0], "no room in "+local.Dir()) {
		t.Errorf("warned of %q", one.warned)
	}
	two := newTeam(t, nil, []string{strings.TrimPrefix(one.o.Warehouses[0].URL, "ca+file://")}, nil)
	if _, err := two.Fetch(t.Context(), small, nil); err != nil {
		t.Error(err)
	}
}
