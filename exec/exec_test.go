package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/joblog"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

func TestChainIsRunThenRemembered(t *testing.T) {
	f := newFixture(t)
	a := f.step("a", "write:/out/x=one")
	output(a, "out", "/out")
	b := f.step("b", "cat:/in/x", "write:/out/y=two")
	input(b, "/in", "step.a.out", formula.ReadOnly)
	output(b, "out", "/out")
	f.formula.Outputs = []*formula.Output{{Name: "b", From: formula.Ref{Step: "step.b", Output: "out"}}}

	first := f.must()
	if first.Ran != 2 || f.log("b") != "one" || f.read(first.Outputs["b"], "y") != "two" {
		t.Errorf("first run: %+v, log %q", first, f.log("b"))
	}
	second := f.must()
	if second.Ran != 0 || second.Remembered != 2 || second.Outputs["b"] != first.Outputs["b"] {
		t.Errorf("second run: %+v", second)
	}
	f.options.Force = true
	forced := f.must()
	if forced.Ran != 2 || forced.Outputs["b"] != first.Outputs["b"] {
		t.Errorf("forced run: %+v", forced)
	}
	if err := f.local.Remove(first.Outputs["b"]); err != nil {
		t.Fatal(err)
	}
	f.options.Force = false
	if gone := f.must(); gone.Ran != 1 || gone.Outputs["b"] != first.Outputs["b"] {
		t.Errorf("run after a ware was removed: %+v", gone)
	}
}

func TestWorld(t *testing.T) {
	f := newFixture(t)
	f.step("w", "world:", "env:", "ls:/", "ls:/dev", "loopback:", "dial:1.1.1.1:80", "dial:127.0.0.1:22")
	f.must()
	log := f.log("w")
	for _, want := range []string{
		"host=kiln cwd=/ umask=022 stdin=0 uid=0 gid=0 pid=1 net=lo fds=3",
		"HOME=/tmp\nLANG=C.UTF-8\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nSOURCE_DATE_EPOCH=1262304000\nTERM=dumb\nTZ=UTC\n",
		coreLimit(t), "Max processes 4096 4096 processes", "NoNewPrivs: 1", "Seccomp: 2", "CapEff: 00000000800400fb",
		"ls / .kiln dev probe proc tmp",
		"ls /dev fd full null ptmx pts random shm stderr stdin stdout tty urandom zero",
		"network is unreachable", "connection refused",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q", want)
		}
	}
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		if own, _ := os.Readlink("/proc/self/ns/" + ns); strings.Contains(log, "ns "+own) {
			t.Errorf("the step shares the %s namespace with the test", ns)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}

// coreLimit is what a step sees of RLIMIT_CORE: 1, or less if the test has less.
func coreLimit(t *testing.T) string {
	t.Helper()
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &own); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("Max core file size %d %[1]d bytes", min(1, own.Max))
}

// TestSmallLimits runs a step where kiln has less than a step would be given, as
// under sudo, which leaves no core files: nobody may raise a limit.
func TestSmallLimits(t *testing.T) {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	f.step("s", "world:")
	f.must()
	if want := "Max core file size 0 0 bytes"; coreLimit(t) != want || !strings.Contains(f.log("s"), want) {
		t.Errorf("log %q", f.log("s"))
	}
}

func TestDangersAreRefused(t *testing.T) {
	f := newFixture(t)
	dangers := []string{"mount", "unshare", "mknod", "sysctl", "dev", "sethostname", "keyctl", "kcore", "chmod device", "chmod stdin"}
	for _, d := range dangers {
		f.step(strings.ReplaceAll(d, " ", "-"), "try:"+d)
	}
	f.must()
	for _, d := range dangers {
		if log := f.log(strings.ReplaceAll(d, " ", "-")); log == "" || strings.HasSuffix(log, "<nil>") {
			t.Errorf("%s worked: %q", d, log)
		}
	}
}

func TestInputModes(t *testing.T) {
	f := newFixture(t)
	id := f.ware("data", map[string]string{"a": "old", "deep/b": "b"})
	f.ware("one", map[string]string{".": "single"})
	s := f.step("s", "append:/rw/a=+new", "cat:/rw/a", "cat:/ro/a", "cat:/etc/one", "cat:/ro/deep/more/one", "cat:/rw/one", "write:/rw/deep/c=c", "rm:/rw/deep/b", "mkdir:/out")
	input(s, "/ro", "ware.data", formula.ReadOnly)
	input(s, "/rw", "ware.data", formula.Overlay)
	input(s, "/rw/one", "ware.one", formula.ReadOnly)
	input(s, "/ro/deep/more/one", "ware.one", formula.ReadOnly)
	input(s, "/etc/one", "ware.one", formula.ReadOnly)
	output(s, "rw", "/rw")
	output(s, "deep", "/rw/deep")
	output(s, "copy", "/ro/a")
	result := f.must()
	if got := f.log("s"); got != "old+new\nold\nsingle\nsingle\nsingle" {
		t.Errorf("log %q", got)
	}
	outputs := result.Steps["step.s"]
	if got := f.read(outputs["rw"], "a"); got != "old+new" {
		t.Errorf("output of the overlay: a is %q", got)
	}
	if got := f.read(outputs["deep"], "c"); got != "c" {
		t.Errorf("output below the overlay: c is %q", got)
	}
	if rec, err := f.local.Get(outputs["deep"]); err != nil || rec.Entries != 2 {
		t.Errorf("what was removed shows: %+v %v", rec, err)
	}
	if rec, err := f.local.Get(outputs["copy"]); err != nil || !rec.File {
		t.Errorf("output of one file: %+v %v", rec, err)
	}
	if got := f.read(id, "a"); got != "old" {
		t.Errorf("the ware itself was changed to %q", got)
	}

	g := newFixture(t)
	g.ware("data", map[string]string{"a": "old"})
	w := g.step("w", "append:/ro/a=+new")
	input(w, "/ro", "ware.data", formula.ReadOnly)
	g.fails(FailedExit)
	if !strings.Contains(g.log("w"), "read-only file system") {
		t.Errorf("log %q", g.log("w"))
	}
}

func TestOutputs(t *testing.T) {
	f := newFixture(t)
	s := f.step("s", "write:/out/a=1", "write:/out/sub/b=2", "link:/out/sub/c=/out/sub/b", "write:/tmp/t/x=3", "chmod:/out/a=0600", "chown:/out/a=7")
	output(s, "out", "/out")
	output(s, "again", "/out")
	output(s, "sub", "/out/sub")
	output(s, "file", "/out/a")
	output(s, "tmp", "/tmp/t")
	output(s, "root", "/")
	outputs := f.must().Steps["step.s"]
	if outputs["out"] != outputs["again"] {
		t.Errorf("one path gave %s and %s", outputs["out"], outputs["again"])
	}
	for name, file := range map[string]string{"out": "sub/c", "sub": "b", "root": "out/sub/b"} {
		if got := f.read(outputs[name], file); got != "2" {
			t.Errorf("%s: %s is %q", name, file, got)
		}
	}
	rec, _ := f.local.Get(outputs["root"])
	entries, _ := os.ReadDir(f.local.Fileset(rec))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"out", "probe"}; !slices.Equal(names, want) {
		t.Errorf("the whole root holds %v, want %v", names, want)
	}
}

func TestBadOutputs(t *testing.T) {
	for name, c := range map[string]struct{ do, want string }{
		"missing": {"say:nothing", "did not make /out"},
		"link":    {"symlink:/out=/etc", "symbolic link to /etc"},
		"outside": {"symlink:/out=../../../../../../etc", "symbolic link"},
		"socket":  {"socket:/out", "socket"},
		"fifo":    {"fifo:/out", "named pipe"},
		"inside":  {"fifo:/out/pipe", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			s := f.step("s", c.do)
			if name == "inside" {
				s = f.step("s2", "mkdir:/out", "fifo:/out/pipe")
				f.formula.Steps = f.formula.Steps[1:]
				c.want = "pipe"
			}
			output(s, "o", "/out")
			e := f.fails(FailedOutput)
			if !strings.Contains(e.Error(), c.want) || !strings.Contains(e.Error(), "output o") {
				t.Errorf("%v; want %q", e, c.want)
			}
		})
	}
	t.Run("through a link", func(t *testing.T) { // links on the way stay inside
		f := newFixture(t)
		s := f.step("s", "mkdir:/real", "symlink:/way=/real", "write:/real/out/x=1")
		output(s, "o", "/way/out")
		if got := f.read(f.must().Steps["step.s"]["o"], "x"); got != "1" {
			t.Errorf("x is %q", got)
		}
	})
}

func TestFailures(t *testing.T) {
	f := newFixture(t)
	f.step("s", "say:one", "say:two", "exit:3")
	e := f.fails(FailedExit)
	if e.ExitCode != 3 || !slices.Equal(e.Tail, []string{"one", "two"}) {
		t.Errorf("%+v", e)
	}
	g := newFixture(t)
	g.step("s", "say:x").Action.Exec = []string{"no-such-command"}
	if e := g.fails(FailedSetup); !strings.Contains(e.Error(), "no-such-command: execute the command: no such file") {
		t.Errorf("%v", e)
	}
	h := newFixture(t)
	h.step("s", "say:x").Cwd = "/nowhere"
	if e := h.fails(FailedSetup); !strings.Contains(e.Error(), "working directory") {
		t.Errorf("%v", e)
	}
}

func TestTimeoutAndDeafness(t *testing.T) {
	for name, args := range map[string][]string{
		"default": {"sleep:1h"},
		"deaf":    {"daemon:deaf:+sleep:1h", "sleep:1h"},
		"polite":  {"polite:", "say:up", "sleep:1h"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.deadline(5 * time.Minute)
			s := f.step("s", args...)
			s.Timeout = 200 * time.Millisecond
			f.fails(FailedTimeout)
			for name == "polite" && f.log("s") == "" { // it had not begun to listen
				s.Timeout *= 2
				f.fails(FailedTimeout)
			}
			if name == "polite" && f.log("s") != "up\ngoodbye" {
				t.Errorf("log %q: not told to end before it was killed", f.log("s"))
			}
		})
	}
}

func TestCancelEndsEverything(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	f.ctx = ctx
	f.options.Jobs = 2
	for _, name := range []string{"a", "b", "c"} {
		f.step(name, "daemon:sleep:1h", "say:up", "sleep:1h")
	}
	observe := f.options.Observe
	f.options.Observe = func(e Event) {
		observe(e)
		if e.Kind == StepLog {
			cancel()
		}
	}
	result, err := f.run()
	if !errors.Is(err, context.Canceled) || result.Skipped != 3 || len(result.Failed) != 0 {
		t.Errorf("%+v %v", result, err)
	}
	f.clean()
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), f.dir) {
		t.Error("something is still mounted")
	}
}

func TestDaemonEndsWithItsStep(t *testing.T) {
	f := newFixture(t)
	f.deadline(time.Minute)
	s := f.step("s", "daemon:sleep:1h", "write:/out/x=1")
	output(s, "out", "/out")
	f.must()
}

func TestMuchOutput(t *testing.T) {
	f := newFixture(t)
	const size = 1 << 30
	f.step("s", "spill:1073741824")
	var total, longest int
	f.options.Observe = func(e Event) {
		if e.Kind == StepLog {
			total += len(e.Line)
			longest = max(longest, len(e.Line))
		}
	}
	f.must()
	if total != size || longest > joblog.MaxLine {
		t.Errorf("%d bytes, longest piece %d", total, longest)
	}
}

func TestManyFiles(t *testing.T) {
	f := newFixture(t)
	s := f.step("s", "files:/out=100000")
	output(s, "out", "/out")
	id := f.must().Steps["step.s"]["out"]
	if rec, err := f.local.Get(id); err != nil || rec.Entries != 100101 {
		t.Errorf("%+v %v", rec, err)
	}
}

func TestForkBomb(t *testing.T) {
	f := newFixture(t)
	f.deadline(10 * time.Minute)
	f.options.MaxPIDs = 200
	f.step("s", "forkbomb:").Timeout = 5 * time.Minute
	if e := f.fails(FailedExit); e.ExitCode != 7 || !strings.Contains(f.log("s"), "resource temporarily unavailable") {
		t.Errorf("%v: %s", e, f.log("s"))
	}
}

func TestChangedWareIsNotUsed(t *testing.T) {
	f := newFixture(t)
	id := f.ware("data", map[string]string{"a": "right", "b": "b"})
	s := f.step("s", "cat:/in/a")
	input(s, "/in", "ware.data", formula.ReadOnly)
	rec, _ := f.local.Get(id)
	if err := os.WriteFile(filepath.Join(f.local.Fileset(rec), "a"), []byte("wrong"), 0); err != nil {
		t.Fatal(err)
	}
	e := f.fails(FailedInput)
	if !strings.Contains(e.Error(), "input /in") || !strings.Contains(e.Error(), id.String()) {
		t.Errorf("%v", e)
	}
}

func TestMissingWare(t *testing.T) {
	f := newFixture(t)
	s := f.step("s", "say:x")
	input(s, "/in", "ware.gone", formula.ReadOnly)
	f.wares["ware.gone"] = warehouse.WareID{Packtype: "tree", Hash: strings.Repeat("0", 64) + "-1"}
	f.formula.Wares = append(f.formula.Wares, &formula.Ware{Addr: "ware.gone"})
	if e := f.fails(FailedInput); !strings.Contains(e.Error(), "is not in the warehouse") {
		t.Errorf("%v", e)
	}
}

func TestUser(t *testing.T) {
	f := newFixture(t)
	f.step("s", "world:").User = "1000:1000"
	result, err := f.run()
	if container.HostMapping().Count() == 1 {
		if err == nil || !strings.Contains(result.Failed[0].Error(), "subordinate") {
			t.Errorf("with one id: %v %v", err, result.Failed)
		}
		return
	}
	if err != nil || !strings.Contains(f.log("s"), "uid=1000 gid=1000") {
		t.Errorf("%v: %s", err, f.log("s"))
	}
}

func TestTwoRunsAtOnce(t *testing.T) {
	a := newFixture(t)
	b := newFixture(t)
	b.local, b.memos, b.options.Warehouse, b.options.Memos = a.local, a.memos, a.local, a.memos
	for _, f := range []*fixture{a, b} {
		for _, n := range []string{"1", "2", "3", "4"} {
			s := f.step(n, "write:/out/x="+n)
			output(s, "out", "/out")
		}
	}
	results := make(chan Result, 2)
	for _, f := range []*fixture{a, b} {
		go func() {
			r, err := f.run()
			if err != nil {
				t.Error(err, r.Failed)
			}
			results <- r
		}()
	}
	x, y := <-results, <-results
	for step, outputs := range x.Steps {
		if y.Steps[step]["out"] != outputs["out"] {
			t.Errorf("%s: %v and %v", step, outputs, y.Steps[step])
		}
	}
	a.clean()
}

func TestSweepOfKilledRun(t *testing.T) {
	f := newFixture(t)
	dead := filepath.Join(f.local.WorkDir(), "run-dead", "1.0.work", "work")
	if err := os.MkdirAll(dead, 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(dead, 0)
	f.step("s", "sleep:1h")
	f.deadline(5 * time.Minute)
	ctx, cancel := context.WithCancel(f.ctx)
	f.ctx = ctx
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(f.local.WorkDir(), "run-dead")); errors.Is(err, unix.ENOENT) {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	if _, err := f.run(); !errors.Is(err, context.Canceled) {
		t.Errorf("what a killed run left is still there: %v", err)
	}
	f.clean()
}

// TestWorldVersion fails when what every step sees changes without plan.World:
// then memos of the old world would be used in the new one.
func TestWorldVersion(t *testing.T) {
	known := map[string]string{
		"1": "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TERM=dumb LANG=C.UTF-8 TZ=UTC SOURCE_DATE_EPOCH=1262304000",
	}
	now := strings.Join(environment(&plan.Step{Step: &formula.Step{}}), " ")
	if known[plan.World] != now {
		t.Errorf("world %s is %q here: raise plan.World and note the new one", plan.World, now)
	}
}

func TestInputsThatDoNotFit(t *testing.T) {
	for name, c := range map[string]struct{ port, ware, want string }{
		"file on directory": {"/probe-dir", "ware.one", "the ware is a file, and a directory is there"},
		"directory on file": {"/probe", "ware.data", "the ware is a directory, and a file is there"},
		"file as root":      {"/", "ware.one", "is a single file"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.ware("one", map[string]string{".": "single"})
			f.ware("data", map[string]string{"a": "x"})
			first := f.step("first", "mkdir:/probe-dir")
			output(first, "root", "/")
			s := f.step("s", "say:x")
			s.Inputs = nil
			if c.port != "/" {
				input(s, "/", "step.first.root", formula.Overlay)
			}
			input(s, c.port, c.ware, formula.ReadOnly)
			if e := f.fails(FailedInput); !strings.Contains(e.Error(), "input "+c.port) || !strings.Contains(e.Error(), c.want) {
				t.Errorf("%v; want %q", e, c.want)
			}
		})
	}
}

// TestHostStaysOut: where links of a root ware lead, they lead inside the step.
func TestHostStaysOut(t *testing.T) {
	f := newFixture(t)
	canary := t.TempDir()
	first := f.step("first", "symlink:/tmp2="+canary, "symlink:/up=../../../../../../.."+canary, "symlink:/etc="+canary, "rm:/tmp", "symlink:/dev2=/proc/1/root"+canary)
	output(first, "root", "/")
	f.ware("data", map[string]string{"a": "x"})
	s := f.step("s", "write:"+canary+"/sub/x=inside", "write:/up/y=inside", "write:/etc/z=inside")
	s.Inputs = nil
	input(s, "/", "step.first.root", formula.Overlay)
	input(s, canary, "ware.data", formula.Overlay)
	output(s, "o", "/up/sub")
	result := f.must()
	if got := f.read(result.Steps["step.s"]["o"], "x"); got != "inside" {
		t.Errorf("output through a link: %q", got)
	}
	if entries, err := os.ReadDir(canary); err != nil || len(entries) > 0 {
		t.Errorf("a step wrote to the host: %v %v", entries, err)
	}
}

// TestWareChangedAndMadeAgain: a step that runs again puts its output right, and
// nobody reads what somebody made of it.
func TestWareChangedAndMadeAgain(t *testing.T) {
	f := newFixture(t)
	a := f.step("a", "write:/out/x=right")
	output(a, "out", "/out")
	b := f.step("b", "cat:/in/x")
	input(b, "/in", "step.a.out", formula.ReadOnly)
	rec, err := f.local.Get(f.must().Steps["step.a"]["out"])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.local.Fileset(rec), "x"), []byte("wrong"), 0); err != nil {
		t.Fatal(err)
	}
	f.options.Force = true
	f.must()
	if f.log("b") != "right" {
		t.Errorf("b read %q", f.log("b"))
	}
}
