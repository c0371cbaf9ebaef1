package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
)

func open(t *testing.T) *Registry { return Open(filepath.Join(t.TempDir(), "runs")) }

func create(t *testing.T, g *Registry, spec exec.JobSpec) (exec.Run, *Hold) {
	t.Helper()
	run, hold, err := g.Create(exec.Run{Runner: "test", Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close() })
	return run, hold
}

func TestIDsAreSortedByTimeAndUnique(t *testing.T) {
	var mu sync.Mutex
	var ids []string
	var under sync.WaitGroup
	for range 8 {
		under.Go(func() {
			before := ""
			for range 1000 {
				id := NewID()
				if id <= before || !validID(id) {
					t.Errorf("%s came after %s", id, before)
				}
				before = id
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	under.Wait()
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 8000 {
		t.Errorf("8000 ids are %d", n)
	}
	if id, _ := newID(func() time.Time { return time.UnixMilli(0x17F22E279B0) }); id[14] != '7' || !strings.ContainsRune("89ab", rune(id[19])) {
		t.Errorf("%s is no uuid of version 7", id)
	}
}

func TestARecordIsReadBackAsItWas(t *testing.T) {
	g := open(t)
	spec := exec.JobSpec{Name: "x", Command: []string{"a", "<&>"}, Labels: map[string]string{"k": "v"}, Timeout: time.Second}
	run, _ := create(t, g, spec)
	got, err := g.Get(run.ID)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(run)
	if have, _ := json.Marshal(got); !bytes.Equal(have, want) || got.Dir != g.Dir(run.ID) {
		t.Errorf("got %s\nwant %s", have, want)
	}
	if info, _ := os.Stat(run.Dir); info.Mode().Perm() != 0o700 {
		t.Errorf("others may look into the run's directory: %v", info.Mode())
	}
}

func TestSecondSubmitterOfOneDirectoryIsRefused(t *testing.T) {
	g := open(t)
	run, _ := create(t, g, exec.JobSpec{})
	if _, _, err := g.Create(exec.Run{ID: run.ID}); err == nil || !strings.Contains(err.Error(), run.Dir) {
		t.Errorf("second Create: %v", err)
	}
	if got, err := g.Get(run.ID); err != nil || got.Status != exec.RunPending {
		t.Errorf("after that: %v %v", got.Status, err)
	}
}

func TestPrefixesNameRunsOnlyWhereUnique(t *testing.T) {
	g := open(t)
	a, _ := create(t, g, exec.JobSpec{})
	b, _ := create(t, g, exec.JobSpec{})
	if id, err := g.Find(b.ID[:35]); len(b.ID) == 36 && (err != nil || id != b.ID) {
		t.Errorf("Find: %s %v", id, err)
	}
	_, err := g.Find(a.ID[:4])
	if err == nil || !strings.Contains(err.Error(), a.ID) || !strings.Contains(err.Error(), b.ID) {
		t.Errorf("the candidates are not named: %v", err)
	}
	for _, prefix := range []string{"", "ffffffff"} {
		if _, err := g.Find(prefix); !errors.Is(err, exec.ErrNoRun) {
			t.Errorf("Find(%q): %v", prefix, err)
		}
	}
}

func TestOwnerThatDiedLeavesALostRun(t *testing.T) {
	g := open(t)
	lost, hold := create(t, g, exec.JobSpec{})
	hold.Close()
	got, err := g.Get(lost.ID)
	if err != nil || got.Status != exec.RunFailed || got.Reason != exec.ReasonLost || got.Ended.IsZero() {
		t.Errorf("%+v %v", got, err)
	}
	wrote, hold := create(t, g, exec.JobSpec{})
	if err := g.WriteExit(wrote.ID, 7, 0); err != nil {
		t.Fatal(err)
	}
	hold.Close()
	if got, err = g.Get(wrote.ID); err != nil || got.Reason != exec.ReasonExit || *got.ExitCode != 7 {
		t.Errorf("%+v %v", got, err)
	}
	signalled, hold := create(t, g, exec.JobSpec{})
	if err := g.WriteExit(signalled.ID, -1, 9); err != nil {
		t.Fatal(err)
	}
	hold.Close()
	if got, err = g.Get(signalled.ID); err != nil || got.Signal != 9 || got.ExitCode != nil {
		t.Errorf("%+v %v", got, err)
	}
	unpacked, hold := create(t, g, exec.JobSpec{Outputs: []exec.JobOutput{{Name: "o"}}})
	if err := g.WriteExit(unpacked.ID, 0, 0); err != nil {
		t.Fatal(err)
	}
	hold.Close()
	if got, err = g.Get(unpacked.ID); err != nil || got.Reason != exec.ReasonLost {
		t.Errorf("a run without its outputs: %+v %v", got, err)
	}
}

func TestReleasedRunIsItsEnvironments(t *testing.T) {
	g := open(t)
	run, hold := create(t, g, exec.JobSpec{})
	if err := hold.Release(); err != nil {
		t.Fatal(err)
	}
	if got, err := g.Get(run.ID); err != nil || got.Status != exec.RunPending {
		t.Errorf("%v %v", got.Status, err)
	}
}

func TestEndedRunsStayAsTheyAre(t *testing.T) {
	g := open(t)
	run, _ := create(t, g, exec.JobSpec{})
	if err := g.Remove(run.ID); err == nil || !strings.Contains(err.Error(), "pending") {
		t.Errorf("Remove of a pending run: %v", err)
	}
	g.Update(run.ID, func(r *exec.Run) { r.Status = exec.RunCancelled })
	got, err := g.Update(run.ID, func(r *exec.Run) { r.Status = exec.RunSucceeded })
	if err != nil || got.Status != exec.RunCancelled {
		t.Errorf("%v %v", got.Status, err)
	}
	if err := g.Remove(run.ID); err != nil {
		t.Error(err)
	}
	if _, err := g.Get(run.ID); !errors.Is(err, exec.ErrNoRun) {
		t.Errorf("Get of what was removed: %v", err)
	}
}

// A list takes the time of a run from its id, without reading the record, and sorts by it.
func TestRunsAreAsOldAsTheirIDs(t *testing.T) {
	g := open(t)
	var under sync.WaitGroup
	for range 8 {
		under.Go(func() {
			for range 10 {
				run, hold, err := g.Create(exec.Run{})
				if err != nil {
					t.Error(err)
					return
				}
				hold.Close()
				made, err := strconv.ParseUint(run.ID[:8]+run.ID[9:13]+run.ID[15:18], 16, 64)
				created := uint64(run.Created.UnixMilli())<<12 | uint64(run.Created.Nanosecond()%1e6)<<12/1e6
				if err != nil || made < created {
					t.Errorf("run %s was created at %v, after its id: %x < %x, %v", run.ID, run.Created, made, created, err)
				}
			}
		})
	}
	under.Wait()
	runs, _ := g.List("", exec.RunFilter{})
	if !slices.IsSortedFunc(runs, func(a, b exec.Run) int { return a.Created.Compare(b.Created) }) {
		t.Error("runs in the order of their ids are not in that of their times")
	}
}

// Who looks whether a run is held is not who holds it: it may be first to see its directory.
func TestRunsBeginWhileOthersLook(t *testing.T) {
	g := open(t)
	var newest atomic.Pointer[string]
	done := make(chan struct{})
	var lookers sync.WaitGroup
	for range 3 {
		lookers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if id := newest.Load(); id != nil {
						g.InUse(*id)
					}
				}
			}
		})
	}
	for range 500 {
		id := NewID()
		newest.Store(&id)
		if err := os.MkdirAll(g.Dir(id), 0o700); err != nil {
			t.Fatal(err)
		}
		hold, err := takeHold(g.Dir(id))
		if err != nil {
			t.Error(err)
			break
		}
		hold.Close()
	}
	close(done)
	lookers.Wait()
}

func TestUpdatesOfManyAreAllThere(t *testing.T) {
	g := open(t)
	run, _ := create(t, g, exec.JobSpec{Labels: map[string]string{}})
	var under sync.WaitGroup
	for i := range 20 {
		under.Go(func() {
			if _, err := g.Update(run.ID, func(r *exec.Run) {
				if r.Spec.Labels == nil {
					r.Spec.Labels = map[string]string{}
				}
				r.Spec.Labels[fmt.Sprint(i)] = ""
			}); err != nil {
				t.Error(err)
			}
		})
	}
	under.Wait()
	if got, _ := g.Get(run.ID); len(got.Spec.Labels) != 20 {
		t.Errorf("%d of 20 changes are there", len(got.Spec.Labels))
	}
}

// damage lists what makes a record one that cannot be understood.
var damage = map[string]func(text string) string{
	"empty":          func(string) string { return "" },
	"half":           func(text string) string { return text[:len(text)/2] },
	"another run's":  func(text string) string { return strings.Replace(text, `"id": "`, `"id": "1`, 1) },
	"unknown status": func(text string) string { return strings.Replace(text, "pending", "paused", 1) },
	"no time":        func(text string) string { return strings.Replace(text, `"created": "2`, `"created": "x`, 1) },
	"huge":           func(text string) string { return strings.Replace(text, "{", "{"+strings.Repeat(" ", maxRecord), 1) },
}

func TestDamagedRecordHidesNoOther(t *testing.T) {
	for what, do := range damage {
		t.Run(what, func(t *testing.T) {
			g := open(t)
			bad, hold := create(t, g, exec.JobSpec{})
			good, _ := create(t, g, exec.JobSpec{})
			text, err := os.ReadFile(filepath.Join(bad.Dir, RunFile))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(bad.Dir, RunFile), []byte(do(string(text))), 0o600); err != nil {
				t.Fatal(err)
			}
			runs, err := g.List("", exec.RunFilter{})
			var damaged *DamagedError
			if len(runs) != 1 || runs[0].ID != good.ID || !errors.As(err, &damaged) || damaged.ID != bad.ID {
				t.Errorf("%v %v", runs, err)
			}
			g.Update(good.ID, func(r *exec.Run) { r.Status = exec.RunCancelled })
			if since, err := g.InUseSince(); err != nil || !since.Equal(madeAt(bad.ID)) {
				t.Errorf("while a process holds it: in use since %v, %v", since, err)
			}
			if err := g.Remove(bad.ID); err == nil {
				t.Error("it was removed while a process held it")
			}
			hold.Close()
			if since, err := g.InUseSince(); err != nil || !since.IsZero() {
				t.Errorf("in use since %v, %v", since, err)
			}
			if err := g.Remove(bad.ID); err != nil {
				t.Error(err)
			}
			if runs, err := g.List("", exec.RunFilter{}); len(runs) != 1 || err != nil {
				t.Errorf("after it was removed: %v %v", runs, err)
			}
		})
	}
}

func TestEndedRunKeepsNoValues(t *testing.T) {
	g := open(t)
	run, _ := create(t, g, exec.JobSpec{Env: []string{"TOKEN=hunter2", "EMPTY="}})
	if got, err := g.Get(run.ID); err != nil || !slices.Equal(got.Spec.Env, run.Spec.Env) {
		t.Errorf("before its end: %q %v", got.Spec.Env, err)
	}
	if _, err := g.Update(run.ID, func(r *exec.Run) { r.Status = exec.RunSucceeded }); err != nil {
		t.Fatal(err)
	}
	got, err := g.Get(run.ID)
	if want := []string{"TOKEN", "EMPTY"}; err != nil || !slices.Equal(got.Spec.Env, want) {
		t.Errorf("%q %v", got.Spec.Env, err)
	}
}

func TestFilesAreTheOwnersOnly(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	g := open(t)
	run, _ := create(t, g, exec.JobSpec{})
	if err := g.WriteExit(run.ID, 0, 0); err != nil {
		t.Fatal(err)
	}
	filepath.WalkDir(g.dir, func(path string, e os.DirEntry, err error) error {
		if info, _ := e.Info(); path != g.dir && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
}

func TestSweepTakesOnlyWhatNobodyHolds(t *testing.T) {
	g := open(t)
	held, _ := create(t, g, exec.JobSpec{})
	dead, hold := create(t, g, exec.JobSpec{})
	hold.Close()
	whole, _ := create(t, g, exec.JobSpec{})
	for _, run := range []exec.Run{held, dead} {
		os.Remove(filepath.Join(run.Dir, RunFile))
	}
	young, hold := create(t, g, exec.JobSpec{})
	hold.Close()
	os.Remove(filepath.Join(young.Dir, RunFile))
	past := time.Now().Add(-time.Hour)
	for _, run := range []exec.Run{held, dead, whole} {
		if err := os.Chtimes(run.Dir, past, past); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Sweep(); err != nil {
		t.Fatal(err)
	}
	ids, _ := g.ids()
	if want := []string{held.ID, whole.ID, young.ID}; !slices.Equal(ids, want) {
		t.Errorf("%v are left, want %v", ids, want)
	}
}

func TestSessionLivesAsLongAsItsProcess(t *testing.T) {
	g := open(t)
	name, end, err := g.Session()
	if err != nil {
		t.Fatal(err)
	}
	if !g.SessionAlive(name) || g.SessionAlive("") || g.SessionAlive(NewID()) {
		t.Error("only the session is alive")
	}
	end()
	if g.SessionAlive(name) {
		t.Error("it is alive after its end")
	}
	// What a killed kiln left is no session, and goes with the next one.
	left := filepath.Join(g.dir, sessionPrefix+name)
	os.WriteFile(left, nil, 0o600)
	if g.SessionAlive(name) {
		t.Error("a file makes no session")
	}
	if _, end, err = g.Session(); err != nil {
		t.Fatal(err)
	}
	defer end()
	if _, err := os.Stat(left); err == nil {
		t.Error("what a dead session left is there")
	}
}

func TestFollowSeesAllOfALineWithoutEnd(t *testing.T) {
	g := open(t)
	run, hold := create(t, g, exec.JobSpec{})
	var out, errs bytes.Buffer
	done := make(chan error)
	go func() { done <- g.Logs(t.Context(), run.ID, true, &out, &errs) }()
	line := bytes.Repeat([]byte("x"), 10<<20)
	log, _ := os.OpenFile(filepath.Join(run.Dir, StdoutFile), os.O_WRONLY|os.O_APPEND, 0)
	for piece := range slices.Chunk(line, 1<<20) {
		log.Write(piece)
	}
	log.Close()
	g.Update(run.ID, func(r *exec.Run) { r.Status = exec.RunSucceeded })
	hold.Close()
	if err := <-done; err != nil || !bytes.Equal(out.Bytes(), line) || errs.Len() > 0 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	g := open(t)
	run, _ := create(t, g, exec.JobSpec{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := g.Wait(ctx, run.ID); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestHelperHolds is no test: it is the process of the next one.
func TestHelperHolds(t *testing.T) {
	dir := os.Getenv("KILN_TEST_HOLD")
	if dir == "" {
		t.Skip("a helper of TestWaitSeesTheOwnerDie")
	}
	if _, err := Inherited(os.NewFile(3, "hold"), dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	select {}
}

func TestWaitSeesTheOwnerDie(t *testing.T) {
	g := open(t)
	run, hold := create(t, g, exec.JobSpec{})
	cmd := osexec.Command(os.Args[0], "-test.run=^TestHelperHolds$")
	cmd.Env = append(os.Environ(), "KILN_TEST_HOLD="+run.Dir)
	cmd.ExtraFiles = []*os.File{hold.File()}
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if said := make([]byte, 4); true {
		if out.Read(said); string(said) != "held" {
			t.Fatalf("the helper says %q", said)
		}
	}
	hold.Close()
	if got, err := g.Get(run.ID); err != nil || got.Status.Ended() {
		t.Fatalf("held by another process: %v %v", got.Status, err)
	}
	done := make(chan exec.Run)
	go func() { got, _ := g.Wait(t.Context(), run.ID); done <- got }()
	cmd.Process.Kill()
	if got := <-done; got.Reason != exec.ReasonLost {
		t.Errorf("%+v", got)
	}
}
