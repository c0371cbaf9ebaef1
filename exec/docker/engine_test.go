package docker_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/moby/moby/client"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/docker"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/warehouse"
)

// engine returns a client of the engine that the tests run beside.
func engine(t *testing.T) *client.Client {
	t.Helper()
	cli, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cli.Close() })
	return cli
}

// started submits a run and returns it when its command has written "up".
func (b *bench) started(script string) exec.Run {
	b.Helper()
	run, err := b.r.Submit(b.Context(), b.sh("echo up; "+script))
	if err != nil {
		b.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	go func() {
		b.r.Logs(b.Context(), run.ID, true, w, nil)
		w.Close()
	}()
	if _, err := r.Read(make([]byte, 3)); err != nil {
		b.Fatal("it never came up:", err)
	}
	return run
}

// wait fails the test unless the run ends so.
func (b *bench) wait(id string, status exec.RunStatus, reason exec.RunReason, words string) exec.Run {
	b.Helper()
	run, err := b.r.Wait(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	if run.Status != status || run.Reason != reason || !strings.Contains(run.Message, words) {
		b.Errorf("it is %s %q: %s; want %s %q: %s", run.Status, run.Reason, run.Message, status, reason, words)
	}
	return run
}

// containersLeft returns how many containers of runs there are.
func containersLeft(t *testing.T) int {
	t.Helper()
	list, err := engine(t).ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", "kiln.run")})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Items)
}

const sleeps = "while :; do sleep 0.1; done"

// TestEngineMeddlers: who ends or removes a container behind kiln's back makes the run a
// failed one, never one that has succeeded.
func TestEngineMeddlers(t *testing.T) {
	under(t)
	b, cli := newBench(t), engine(t)
	ten := 10
	run := b.started(sleeps)
	if _, err := cli.ContainerStop(t.Context(), "kiln-"+run.ID, client.ContainerStopOptions{Timeout: &ten}); err != nil {
		t.Fatal(err)
	}
	b.wait(run.ID, exec.RunFailed, exec.ReasonLost, "docker stop")
	run = b.started(sleeps)
	if _, err := cli.ContainerKill(t.Context(), "kiln-"+run.ID, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatal(err)
	}
	b.wait(run.ID, exec.RunFailed, exec.ReasonLost, "left no result")
	run = b.started(sleeps)
	if _, err := cli.ContainerRemove(t.Context(), "kiln-"+run.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	b.wait(run.ID, exec.RunFailed, exec.ReasonLost, "knows nothing of its container")
	if n := containersLeft(t); n > 0 {
		t.Errorf("%d containers are left", n)
	}
	if left, _ := filepath.Glob(filepath.Join(b.local.WorkDir(), "docker-*")); len(left) > 0 {
		t.Errorf("left in the work directory: %v", left)
	}
}

// TestEngineStaleResult: what lies where the result will be is not taken for it, and a
// command cannot forge one.
func TestEngineStaleResult(t *testing.T) {
	under(t)
	b := newBench(t)
	forged := `{"version":1,"run":"old","status":"succeeded"}`
	run, _ := b.do(b.sh("echo '" + forged + "' >/.kiln/result.json; exit 3"))
	if run.Status != exec.RunFailed || run.ExitCode == nil || *run.ExitCode != 3 {
		t.Errorf("%+v", run)
	}
	run = b.started("echo '" + forged + "' >/.kiln/result.json; echo done; " + sleeps)
	engine(t).ContainerKill(t.Context(), "kiln-"+run.ID, client.ContainerKillOptions{Signal: "KILL"})
	b.wait(run.ID, exec.RunFailed, exec.ReasonLost, "left no result")
}

// TestEnginePayloadIsPrivate: the environment is in it, which may hold secrets, and another
// user in the container does not read it, however it came there.
func TestEnginePayloadIsPrivate(t *testing.T) {
	under(t)
	b := newBench(t)
	for _, apart := range []bool{false, true} {
		r := b.connect(apart)
		spec := b.sh("! cat /.kiln/payload.json")
		spec.User = "1000:1000"
		run, err := r.Submit(t.Context(), spec)
		if err == nil {
			run, err = r.Wait(t.Context(), run.ID)
		}
		if err != nil || run.Status != exec.RunSucceeded {
			t.Errorf("apart %v: %s, %s, %v", apart, run.Status, run.Message, err)
		}
	}
}

// TestEngineOneImage: of several runners that need an image, all get it.
func TestEngineOneImage(t *testing.T) {
	under(t)
	b := newBench(t)
	root := b.ware(map[string]string{"only": "in this image"})
	spec := exec.JobSpec{Root: root, Outputs: []exec.JobOutput{{Name: "o", Path: "/only", Packtype: "tree"}}, Command: []string{"/.kiln/helper", "version"}}
	var under sync.WaitGroup
	for range 4 {
		r := b.connect(false)
		under.Go(func() {
			run, err := r.Submit(t.Context(), spec)
			if err == nil {
				run, err = r.Wait(t.Context(), run.ID)
			}
			if err != nil || run.Status != exec.RunSucceeded {
				t.Errorf("%s: %s, %v", run.Status, run.Message, err)
			}
		})
	}
	under.Wait()
}

// TestEngineTakenInOnce: however many look at a run that has ended, it ends once, and all
// see the same.
func TestEngineTakenInOnce(t *testing.T) {
	under(t)
	b := newBench(t)
	spec := b.sh("echo x >/out")
	spec.Outputs = []exec.JobOutput{{Name: "out", Path: "/out", Packtype: "tree"}}
	run, err := b.r.Submit(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	ended := make([]exec.Run, 6)
	var all sync.WaitGroup
	for i := range ended {
		r := b.connect(false)
		all.Go(func() {
			got, err := r.Wait(t.Context(), run.ID)
			if err != nil {
				t.Error(err)
			}
			ended[i] = got
		})
	}
	all.Wait()
	for _, got := range ended {
		if got.Status != exec.RunSucceeded || !got.Ended.Equal(ended[0].Ended) || got.Outputs["out"] != ended[0].Outputs["out"] {
			t.Errorf("%+v\nand %+v", got, ended[0])
		}
	}
}

// TestEngineSweeps: what a process that died while it submitted has left is removed by the
// next one.
func TestEngineSweeps(t *testing.T) {
	under(t)
	b := newBench(t)
	run := b.started(sleeps)
	if err := os.Remove(filepath.Join(b.r.Runs.Dir(run.ID), "run.json")); err != nil { // as if it had never been entered
		t.Fatal(err)
	}
	if _, _ = b.do(exec.JobSpec{Command: []string{"/bin/true"}, Root: b.root}); containersLeft(t) == 0 {
		t.Fatal("the runner was to sweep once, when it first submitted")
	}
	b.r = b.connect(false)
	b.do(exec.JobSpec{Command: []string{"/bin/true"}, Root: b.root})
	if n := containersLeft(t); n > 0 {
		t.Errorf("%d containers are left", n)
	}
}

// TestEngineFullVolume: a run whose outputs do not fit fails, saying so.
func TestEngineFullVolume(t *testing.T) {
	under(t)
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	b := newBench(t)
	small := filepath.Join(b.dir, "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("small", small, "tmpfs", 0, "size=24m"); err != nil {
		t.Skip("mount a small file system:", err)
	}
	t.Cleanup(func() { syscall.Unmount(small, syscall.MNT_DETACH) })
	local, err := warehouse.OpenLocal(filepath.Join(small, "warehouse"))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	b.local, b.r = local, docker.New(docker.Config{Runs: b.r.Runs, Warehouse: local, CacheDir: b.dir + "/cache", StateDir: b.dir + "/docker", Helper: os.Getenv(envHelper)})
	root := b.ware(map[string]string{"x": "x"})
	program, err := embedded.Toolbox()
	if err == nil {
		err = errors.Join(os.Mkdir(b.dir+"/bin", 0o755), os.WriteFile(b.dir+"/bin/dd", program, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	spec := exec.JobSpec{Root: root, Command: []string{"/in/dd", "if=/dev/zero", "of=/big", "bs=1000000", "count=60"}}
	spec.Inputs = []exec.JobInput{{Port: "/in", Ware: b.ingest(b.dir + "/bin")}}
	spec.Outputs = []exec.JobOutput{{Name: "big", Path: "/big", Packtype: "tree"}}
	run, words := b.do(spec)
	if run.Status != exec.RunFailed || run.Reason != exec.ReasonOutput || !strings.Contains(run.Message, "no space left") {
		t.Errorf("%s %s: %s\n%s", run.Status, run.Reason, run.Message, words)
	}
}

// TestEngineFormula: one formula gives the same wares in kiln's containers and in the
// engine's, and what one has remembered the other does not run.
func TestEngineFormula(t *testing.T) {
	under(t)
	if _, err := osexec.LookPath("gcc"); err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "docker-formula-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { warehouse.RemoveTree(dir) })
	if err := os.CopyFS(filepath.Join(dir, "formula"), os.DirFS("../testdata/same")); err != nil {
		t.Fatal(err)
	}
	kiln := func(runner, home string) (stdout, stderr string) {
		var out, errs strings.Builder
		cmd := osexec.CommandContext(t.Context(), os.Getenv(envHelper), "run", "--runner", runner, filepath.Join(dir, "formula"))
		at := filepath.Join(dir, home)
		cmd.Env = append(os.Environ(), "KILN_DATA_HOME="+at+"/data", "KILN_CACHE_HOME="+at+"/cache", "KILN_CONFIG_HOME="+at+"/config")
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("on %s: %v\n%s", runner, err, errs.String())
		}
		return out.String(), errs.String()
	}
	want, _ := kiln("container", "one")
	got, _ := kiln("docker", "two")
	if got != want || strings.Count(want, " = ") != 3 {
		t.Errorf("in the engine's containers:\n%sin kiln's:\n%s", got, want)
	}
	if again, story := kiln("container", "two"); again != want || !strings.Contains(story, "remembered") {
		t.Errorf("after the engine's containers:\n%s%s", again, story)
	}
}

// TestNoEngine: an engine that is not there is told as that, with what to do.
func TestNoEngine(t *testing.T) {
	dir := t.TempDir()
	for host, want := range map[string]string{
		"unix://" + dir + "/none.sock": "/none.sock does not answer: ",
		"ssh://somewhere":              "kiln does not connect through ssh: forward the socket",
		"tcp://127.0.0.1:1":            "is it running?",
	} {
		t.Setenv("DOCKER_HOST", host)
		r, err := connect(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", host, err)
		}
		if _, err := r.Submit(t.Context(), exec.JobSpec{Command: []string{"x"}}); err == nil {
			t.Error("a run was submitted to nobody")
		}
	}
}

// TestContext: contexts of the docker command are found where it keeps them.
func TestContext(t *testing.T) {
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	t.Setenv("DOCKER_HOST", "")
	r, err := connect(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONTEXT", "nobody's")
	if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), `there is no context "nobody's"`) {
		t.Error(err)
	}
	t.Setenv("DOCKER_CONTEXT", "far")
	dir := filepath.Join(config, "contexts/meta", fmt.Sprintf("%x", sha256.Sum256([]byte("far"))))
	err = errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/meta.json", []byte(`{"Name":"far","Endpoints":{"docker":{"Host":"unix:///far/away.sock"}}}`), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "/far/away.sock does not answer") {
		t.Error(err)
	}
}
