package docker_test

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/docker"
	"github.com/kilnbuild/kiln/exec/exectest"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/exec/supervise"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// The environment of the test's own processes.
const (
	envUnder  = "KILN_TEST_UNDER_DOCKER" // the tests run beside an engine: docker or podman
	envHelper = "KILN_TEST_HELPER"       // a static kiln
	envApart  = "KILN_TEST_APART"        // nothing of this machine is mounted
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervise" { // a run of kiln's own containers
		err := supervise.Main(os.Args[2], func(string) (supervise.Environment, error) {
			return containers(filepath.Dir(filepath.Dir(os.Args[2])))
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	exectest.Main(func(dir string) (exec.Runner, error) { return connect(dir) })
	os.Exit(m.Run())
}

// connect returns a runner whose things are all in dir.
func connect(dir string) (*docker.Runner, error) {
	local, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	if err != nil {
		return nil, err
	}
	return docker.New(docker.Config{
		Runs: registry.Open(filepath.Join(dir, "runs")), Warehouse: local, CacheDir: filepath.Join(dir, "cache"), StateDir: filepath.Join(dir, "docker"),
		Helper: os.Getenv(envHelper), Apart: os.Getenv(envApart) != "",
	}), nil
}

// under returns which engine the tests run beside.
func under(t *testing.T) string {
	t.Helper()
	name := os.Getenv(envUnder)
	if name == "" {
		t.Skip("TestDocker and TestPodman run it, beside an engine")
	}
	return name
}

// A bench is a runner and what it works with.
type bench struct {
	*testing.T
	r     *docker.Runner
	dir   string
	local *warehouse.Local
	root  warehouse.WareID // the toolbox
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "docker-bench-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { warehouse.RemoveTree(dir) })
	r, err := connect(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, r: r, dir: dir, local: r.Warehouse}
	if err := embedded.PutToolbox(context.Background(), b.local); err != nil {
		t.Fatal(err)
	}
	b.root, _ = embedded.ToolboxID()
	return b
}

// ware puts files into the warehouse.
func (b *bench) ware(files map[string]string) warehouse.WareID {
	b.Helper()
	dir := b.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(at), 0o755)
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	rec, err := pack.Ingest(context.Background(), b.local, dir, pack.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return rec.ID
}

// sh is a run of a shell script on the toolbox.
func (b *bench) sh(script string) exec.JobSpec {
	return exec.JobSpec{Name: "test", Command: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}, Root: b.root}
}

// connect returns a runner over the bench's things.
func (b *bench) connect(apart bool) *docker.Runner {
	b.Helper()
	r, err := connect(b.dir)
	if err != nil {
		b.Fatal(err)
	}
	r.Apart = apart
	return r
}

// ingest makes a ware of what is on disk.
func (b *bench) ingest(path string) warehouse.WareID {
	b.Helper()
	filters, err := pack.ParseFilters("mtime=keep,setid=keep")
	if err != nil {
		b.Fatal(err)
	}
	rec, err := pack.Ingest(context.Background(), b.local, path, pack.Options{Filters: filters})
	if err != nil {
		b.Fatal(err)
	}
	return rec.ID
}

// sh1 runs a shell command here.
func (b *bench) sh1(script string) {
	b.Helper()
	if out, err := osexec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
}

// diff says how two wares differ.
func (b *bench) diff(from, to warehouse.WareID) string {
	f1, err1 := b.local.Get(from)
	f2, err2 := b.local.Get(to)
	if err1 != nil || err2 != nil {
		return fmt.Sprint(err1, err2)
	}
	one, two := b.local.Fileset(f1), b.local.Fileset(f2)
	list := `cd $0 2>/dev/null && find . -printf '%p %m %s %l %T@\n' | sort`
	out, _ := osexec.Command("bash", "-c", "diff <(sh -c \"$2\" $0) <(sh -c \"$2\" $1); diff -r $0 $1", one, two, list).CombinedOutput()
	return string(out)
}

// do runs a specification to its end and returns what it wrote.
func (b *bench) do(spec exec.JobSpec) (exec.Run, string) {
	b.Helper()
	return b.doOn(b.r, spec)
}

func (b *bench) doOn(r exec.Runner, spec exec.JobSpec) (exec.Run, string) {
	b.Helper()
	run, err := r.Submit(b.Context(), spec)
	if err == nil {
		run, err = r.Wait(b.Context(), run.ID)
	}
	var out strings.Builder
	if err == nil {
		err = r.Logs(b.Context(), run.ID, false, &out, &out)
	}
	if err != nil {
		b.Fatal(err)
	}
	return run, out.String()
}

// TestSuite is what all runners pass.
func TestSuite(t *testing.T) {
	name := under(t)
	b := newBench(t)
	can := exectest.Capabilities{Wares: true, Split: true, User: true, Image: true, Offline: exec.OfflineEnforced, Survives: true, Signals: true, Patience: 2 * time.Minute}
	if name == "docker" {
		can.Limits = []string{"cpus", "memory", "pids"}
	}
	exectest.Run(t, exectest.Environment{
		Connect: func(dir string) (exec.Runner, error) { return connect(dir) }, Dir: b.dir, Can: can,
		Base: exec.JobSpec{Root: b.root}, Ware: b.ware(map[string]string{"hello": "hello\n"}),
		Missing: warehouse.WareID{Packtype: "tree", Hash: strings.Repeat("0", 64) + "-1"},
	})
}

// TestDocker runs the tests beside a real Docker Engine: make test-docker.
func TestDocker(t *testing.T) { beside(t, "docker", testenv.Docker(t)) }

// TestPodman runs the tests beside podman, as whoever runs them: make test-podman.
func TestPodman(t *testing.T) { beside(t, "podman", testenv.Podman(t)) }

// beside runs the other tests again in a process that prefix starts beside an engine.
func beside(t *testing.T, name string, prefix []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	helper := filepath.Join(t.TempDir(), "kiln")
	if err := testenv.BuildKiln(helper); err != nil {
		t.Fatal(err)
	}
	args := append(prefix[1:], self, "-test.v", "-test.run="+runsBeside, "-test.timeout=15m")
	cmd := osexec.CommandContext(t.Context(), prefix[0], args...)
	cmd.Env = append(os.Environ(), envUnder+"="+name, envHelper+"="+helper)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "--- PASS: TestSuite ") {
		t.Error("the suite did not run")
	}
}

// runsBeside are the tests that run beside an engine.
const runsBeside = "^Test(Suite|Engine)"
