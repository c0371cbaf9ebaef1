package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
)

// linked puts a ware into the warehouse that holds the probe and symbolic links,
// by path.
func (f *fixture) linked(name string, links map[string]string) {
	f.Helper()
	dir := f.TempDir()
	program, _ := probe()
	if err := os.WriteFile(filepath.Join(dir, "probe"), program, 0o755); err != nil {
		f.Fatal(err)
	}
	for link, target := range links {
		at := filepath.Join(dir, link)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Symlink(target, at)); err != nil {
			f.Fatal(err)
		}
	}
	rec, err := pack.Ingest(f.ctx, f.local, dir, pack.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.wares["ware."+name] = rec.ID
	f.formula.Wares = append(f.formula.Wares, &formula.Ware{Addr: "ware." + name})
}

// A root ware is somebody else's: its links lead nowhere but into itself, and
// nothing that makes the container reads a file of it that never ends.
func TestLinksInRootWares(t *testing.T) {
	canary := filepath.Join(t.TempDir(), "canary")
	for name, c := range map[string]struct {
		links map[string]string
		ends  bool // well
	}{
		"passwd is the log":   {map[string]string{"etc/passwd": "/proc/self/fd/1"}, true},
		"dev leads out":       {map[string]string{"dev": "/../../../warehouse"}, true},
		"dev leads to proc":   {map[string]string{"dev": "proc"}, false},
		"proc leads out":      {map[string]string{"proc": "/../../../warehouse"}, false},
		"script leads out":    {map[string]string{".kiln": "../../jobs"}, true},
		"port leads out":      {map[string]string{"in": "../../../../" + canary}, false},
		"port leads to proc":  {map[string]string{"in": "/proc/self/root"}, false},
		"tmp leads elsewhere": {map[string]string{"tmp": "/../../../../../tmp"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.deadline(5 * time.Minute)
			f.linked("root", c.links)
			f.ware("data", map[string]string{"a": "1"})
			s := f.step("s", "cat:/in/a", "ls:/", "write:/out/x=1")
			s.Inputs[0].From.Ware = "ware.root"
			input(s, "/in", "ware.data", formula.ReadOnly)
			output(s, "out", "/out")
			result, err := f.run()
			f.clean()
			if c.ends != (err == nil) {
				t.Errorf("%v %v: %v", err, result.Failed, f.logs)
			}
			if _, err := os.Lstat(canary); err == nil {
				t.Error("something was made outside")
			}
		})
	}
}

// What overlays do to directories must not show in wares.
func TestOutputsThatHideWhatLiesBelow(t *testing.T) {
	f := newFixture(t)
	program, _ := probe()
	f.ware("root", map[string]string{"probe": string(program), "d/old": "o", "d/sub/old": "o", "e/sub/old": "o", "e/keep": "k", "file": "f", "g/x/deep": "o"})
	f.ware("data", map[string]string{"sub/old": "o", "keep": "k"})
	s := f.step("s",
		"rm:/d", "write:/d/new=n", "write:/d/sub/new=n", // recreated
		"rm:/e/sub", "write:/e/sub/new=n", // a directory below was
		"rm:/file", "write:/file/now/a=dir", // a file has become a directory
		"rm:/rw/sub", "write:/rw/sub/new=n", "write:/rw/made/a=1", // in an overlay input
		"rm:/g", "symlink:/g=/d", // reached by another name than below
		"link:/made/hard=/rw/../made/own", // made/own is written below
		"mkdir:/none",
	)
	s.Action.Exec = slices.Insert(s.Action.Exec, 1, "write:/made/own=own")
	s.Inputs[0].From.Ware = "ware.root"
	input(s, "/rw", "ware.data", formula.Overlay)
	want := map[string]string{
		"d": "new sub sub/new", "e": "keep sub sub/new", "file": "now now/a", "file/now": "a",
		"rw": "keep made made/a sub sub/new", "rw/sub": "new", "rw/made": "a", "g/sub": "new", "made": "hard own", "none": "", "tmp": "", "d/sub": "new",
	}
	for name := range want {
		output(s, name, "/"+name)
	}
	outputs := f.must().Steps["step.s"]
	for name, want := range want {
		rec, err := f.local.Get(outputs[name])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		top := f.local.Fileset(rec)
		filepath.WalkDir(top, func(p string, d os.DirEntry, err error) error {
			if p != top {
				got = append(got, strings.TrimPrefix(p, top+"/"))
			}
			if n, _ := unix.Llistxattr(p, nil); n > 0 {
				t.Errorf("%s has extended attributes", p)
			}
			return err
		})
		if strings.Join(got, " ") != want {
			t.Errorf("/%s holds %v, want %s", name, got, want)
		}
	}
}

// What a step makes executable as its own root must not be within reach of others
// on the host before it is a ware.
func TestOthersCannotReachWhatAStepWrites(t *testing.T) {
	f := newFixture(t)
	f.step("s", "write:/tmp/x=1", "chmod:/tmp/x=6755", "say:now", "sleep:1s")
	observe := f.options.Observe
	f.options.Observe = func(e Event) {
		observe(e)
		if e.Kind != StepLog {
			return
		}
		runs, _ := filepath.Glob(filepath.Join(f.local.WorkDir(), "run-*"))
		for _, dir := range runs {
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v, %v", dir, info.Mode(), err)
			}
		}
		if len(runs) == 0 {
			t.Error("the run has no directory")
		}
	}
	f.must()
}

// A tree deeper than the executor may have files open is removed too.
func TestVeryDeepDirectories(t *testing.T) {
	const files = 2048
	if os.Getenv("KILN_TEST_DEEP") == "" { // the limit cannot be raised again: in a process of its own
		again := osexec.Command(os.Args[0], "-test.run=^TestVeryDeepDirectories$", "-test.v")
		again.Env = append(os.Environ(), "KILN_TEST_DEEP=1")
		if out, err := again.CombinedOutput(); err != nil {
			t.Errorf("%v: %.2000s", err, out)
		}
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	f.deadline(time.Minute)
	f.step("s", fmt.Sprintf("deep:/tmp/d=%d", files+500))
	f.must()
}

// A run that is cancelled, at whatever point, ends and leaves nothing.
func TestCancelAtAnyPoint(t *testing.T) {
	f := newFixture(t)
	f.options.Force = true
	for i := range 8 {
		name := string(rune('a' + i))
		s := f.step(name, "say:up", "write:/out/x="+name, "daemon:sleep:1h")
		output(s, "out", "/out")
		if i >= 2 {
			input(s, "/in", "step."+string(rune('a'+i-2))+".out", formula.ReadOnly)
		}
		if i == 5 {
			s.Action.Exec = append(s.Action.Exec, "exit:1")
		}
	}
	observe := f.options.Observe
	for end, n := time.Now().Add(8*time.Second), 0; time.Now().Before(end); n++ {
		ctx, cancel := context.WithCancel(t.Context())
		f.ctx, f.options.KeepGoing, f.options.Jobs = ctx, n%2 == 0, 1+n%3
		after := n % 37
		if after == 0 {
			cancel()
		}
		f.options.Observe = func(e Event) {
			observe(e)
			if after--; after == 0 {
				cancel()
			}
		}
		time.AfterFunc(time.Duration(n*7%101)*time.Millisecond*2, cancel)
		result, err := f.run()
		if !errors.Is(err, context.Canceled) && !errors.Is(err, ErrFailed) {
			t.Fatalf("cancelled after %d events: %v", n%37, err)
		}
		for _, e := range result.Failed {
			if e.Failure != FailedExit {
				t.Errorf("cancelled after %d events: %v", n%37, e)
			}
		}
		if all := result.Ran + result.Skipped + len(result.Failed); all != 8 {
			t.Errorf("cancelled after %d events: %d steps came to an end: %+v", n%37, all, result)
		}
		f.clean()
		cancel()
	}
}

// A long run's executor does not gather what its steps have used.
func TestManyStepsLeaveNothing(t *testing.T) {
	count := 300
	if s := os.Getenv("KILN_TEST_STEPS"); s != "" {
		count, _ = strconv.Atoi(s)
	}
	f := newFixture(t)
	for i := range count {
		s := f.step(fmt.Sprintf("s%05d", i), "write:/out/x="+strconv.Itoa(i))
		output(s, "out", "/out")
		if i > 5 {
			input(s, "/in", fmt.Sprintf("step.s%05d.out", i-5), formula.ReadOnly)
		}
	}
	var early, most use
	done := 0
	observe := f.options.Observe
	f.options.Observe = func(e Event) {
		observe(e)
		if e.Kind == StepDone {
			switch done++; {
			case done == 50:
				early = executorUse(t, f.dir)
			case done == count-20:
				most = executorUse(t, f.dir)
			}
		}
	}
	f.must()
	t.Logf("after 50 steps %+v, after %d %+v", early, count-20, most)
	if most.files > early.files+40 || most.mounts > early.mounts+60 || most.threads > early.threads+20 {
		t.Errorf("after 50 steps %+v, after %d %+v", early, count-20, most)
	}
}

// use is what an executor holds.
type use struct{ files, mounts, threads int }

// executorUse finds the executor with warehouses below dir among this process's
// children.
func executorUse(t *testing.T, dir string) use {
	t.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range all {
		status, _ := os.ReadFile(proc + "/status")
		if !strings.Contains(string(status), "\nPPid:\t"+strconv.Itoa(os.Getpid())+"\n") {
			continue
		}
		mounts, _ := os.ReadFile(proc + "/mountinfo")
		if !strings.Contains(string(mounts), " /jobs ") {
			continue
		}
		files, err1 := os.ReadDir(proc + "/fd")
		threads, err2 := os.ReadDir(proc + "/task")
		if err := errors.Join(err1, err2); err != nil {
			t.Skip("the executor cannot be looked into: ", err)
		}
		return use{len(files), strings.Count(string(mounts), "\n"), len(threads)}
	}
	t.Error("there is no executor")
	return use{}
}

// The executor starts whatever numbers kiln's descriptors happen to have.
func TestDescriptorNumbersDoNotMatter(t *testing.T) {
	f := newFixture(t)
	f.step("s", "say:x")
	f.options.Force = true
	for range 14 {
		f.must()
		taken, err := os.Open("/dev/null") // the lowest that is free
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
	}
}
