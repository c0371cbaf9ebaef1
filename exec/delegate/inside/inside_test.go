package inside_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

var dir string // of all the package's tests

// helper is kiln, static as it is in releases.
var helper = sync.OnceValues(func() (string, error) {
	path := filepath.Join(dir, "kiln")
	return path, testenv.BuildKiln(path)
})

func TestMain(m *testing.M) {
	var err error
	if dir, err = os.MkdirTemp("", "helper"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// A world is a root with the toolbox and the helper in it, which runs there as the first
// process of namespaces of its own: what all runners' containers have in common.
type world struct {
	*testing.T
	root  string
	flags uintptr
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, root: filepath.Join(t.TempDir(), "root"), flags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNET}
	if err := embedded.LayToolbox(w.root); errors.Is(err, embedded.ErrNotBuilt) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	kiln, err := helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { warehouse.RemoveTree(w.root) })
	if err := errors.Join(os.Mkdir(w.root+delegate.Dir, 0o755), os.Mkdir(w.root+delegate.InputsDir, 0o755), os.WriteFile(w.root+"/dev/null", nil, 0o666)); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(kiln, w.root+delegate.HelperPath); err != nil {
		t.Fatal(err)
	}
	return w
}

// start starts the helper.
func (w *world) start(p delegate.Payload) (*osexec.Cmd, *bytes.Buffer) {
	w.Helper()
	if p.Run == "" {
		p.Run = "run-1"
	}
	text, err := p.Encode()
	if err == nil {
		err = os.WriteFile(w.root+delegate.PayloadPath, text, 0o644)
	}
	if err != nil {
		w.Fatal(err)
	}
	var out bytes.Buffer
	cmd := osexec.Command(delegate.HelperPath, delegate.Verb, "@"+delegate.PayloadPath)
	cmd.Dir, cmd.Env = "/", []string{"SECRET=of the helper"}
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: w.root, Cloneflags: w.flags | syscall.CLONE_NEWUSER}
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Cloneflags &^= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = nil, nil
	}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	return cmd, &out
}

// run runs the helper to its end, and returns its result and what was written.
func (w *world) run(p delegate.Payload) (delegate.Result, string) {
	w.Helper()
	cmd, out := w.start(p)
	cmd.Wait()
	return w.result(), out.String()
}

func (w *world) result() delegate.Result {
	w.Helper()
	text, err := os.ReadFile(w.root + delegate.ResultPath)
	if err != nil {
		w.Fatal(err)
	}
	r, err := delegate.Decode(text, "run-1")
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// script is a specification of shell commands.
func script(entries ...string) exec.JobSpec {
	return exec.JobSpec{Name: "test", Command: []string{"sh"}, Script: entries, Env: []string{"PATH=/bin", "HOME=/tmp"}}
}

func output(spec exec.JobSpec, path string) exec.JobSpec {
	spec.Outputs = append(spec.Outputs, exec.JobOutput{Name: filepath.Base(path), Path: path, Packtype: pack.Tree})
	return spec
}

// TestWorld: the command finds its environment and nothing of the helper's.
func TestWorld(t *testing.T) {
	w := newWorld(t)
	r, out := w.run(delegate.Payload{Spec: script("env | sort", "pwd; umask; echo $0", "cat; echo end >&2"), Network: delegate.NetworkRequire})
	if r.Status != exec.RunSucceeded || r.Offline != exec.OfflineEnforced || *r.ExitCode != 0 || r.Entry != nil {
		t.Errorf("result %+v", r)
	}
	for _, want := range []string{"HOME=/tmp\n", "PATH=/bin\n", "/\n0022\n/.kiln/main\n", "end\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %q", want, out)
		}
	}
	if strings.Contains(out, "SECRET") {
		t.Errorf("the command got the helper's environment: %q", out)
	}
}

// TestOffline: where there is a network, the helper takes it away, or does not run what
// must not have it.
func TestOffline(t *testing.T) {
	for network, want := range map[delegate.Network]exec.Offline{delegate.NetworkAsIs: exec.OfflineNone, delegate.NetworkTry: exec.OfflineEnforced, delegate.NetworkRequire: exec.OfflineEnforced} {
		t.Run(string(network), func(t *testing.T) {
			w := newWorld(t)
			w.flags &^= syscall.CLONE_NEWNET
			if err := os.MkdirAll(w.root+"/proc", 0o755); err != nil {
				t.Fatal(err)
			}
			p := delegate.Payload{Network: network, Spec: script("exit 3")}
			r, out := w.run(p)
			if r.Offline != want || r.Reason != exec.ReasonExit || *r.ExitCode != 3 || out != "" {
				t.Errorf("result %+v, wrote %q", r, out)
			}
			p.Spec.Network = true
			if r, _ := w.run(p); r.Offline != exec.OfflineNone || r.Reason != exec.ReasonExit {
				t.Errorf("with a network that was asked for: %+v", r)
			}
		})
	}
}

// TestConfined: a command that the helper confines has the capabilities of a step, and a
// command that is not there is told as ever.
func TestConfined(t *testing.T) {
	w := newWorld(t)
	spec := script("test -x /bin/sh && exec nothing")
	for want, spec := range map[string]exec.JobSpec{
		"nothing: no such file":            {Command: []string{"nothing"}, Env: []string{"PATH=/bin"}},
		"working directory /none: no such": {Command: []string{"/bin/true"}, Dir: "/none"},
		"/etc/passwd: permission denied":   {Command: []string{"/etc/passwd"}},
		"exit code 127":                    spec,
	} {
		r, out := w.run(delegate.Payload{Spec: spec, Confine: true})
		if !strings.Contains(r.Message, want) || want != "exit code 127" && out != "" {
			t.Errorf("%s; want %s; wrote %q", r.Message, want, out)
		}
	}
}

// TestEnds: how a command ended is told as a container of kiln's tells it.
func TestEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		spec   exec.JobSpec
		status exec.RunStatus
		reason exec.RunReason
		words  string
		code   int // -1: none
		entry  int
	}{
		"exit code":     {script("true", "exit 7"), exec.RunFailed, exec.ReasonExit, "exit code 7", 7, 1},
		"signal":        {script("kill -KILL $$"), exec.RunFailed, exec.ReasonSignal, "signal 9 (SIGKILL)", -1, 0},
		"no command":    {exec.JobSpec{Command: []string{"nothing"}, Env: []string{"PATH=/none:/bin"}}, exec.RunFailed, exec.ReasonSetup, "nothing: no such file or directory", -1, -1},
		"no directory":  {exec.JobSpec{Command: []string{"/bin/true"}, Dir: "/none"}, exec.RunFailed, exec.ReasonSetup, "enter the working directory /none: no such file or directory", -1, -1},
		"no output":     {output(script("true"), "/out"), exec.RunFailed, exec.ReasonOutput, "output out: the step did not make /out", 0, -1},
		"link output":   {output(script("ln -s /bin /out"), "/out"), exec.RunFailed, exec.ReasonOutput, "/out is a symbolic link to /bin: name what", 0, -1},
		"no input":      {exec.JobSpec{Command: []string{"/bin/true"}, Inputs: []exec.JobInput{{Port: "/in", Ware: warehouse.WareID{Packtype: "tree", Hash: "x-1"}}}}, exec.RunFailed, exec.ReasonInput, "input /in: ware tree:x-1 is in none of", -1, -1},
		"limit":         {exec.JobSpec{Command: []string{"/bin/true"}, Resources: exec.Resources{Limits: exec.Amounts{Memory: 1 << 20}}}, exec.RunFailed, exec.ReasonSetup, "the limit of 1048576 bytes of memory cannot be verified here", -1, -1},
		"time":          {exec.JobSpec{Command: []string{"sleep", "1000"}, Env: []string{"PATH=/bin"}, Timeout: time.Millisecond}, exec.RunFailed, exec.ReasonTimeout, "its time, 1ms, was up", -1, -1},
		"what is left":  {script("sleep 1000 & (sleep 1000 &) ; true"), exec.RunSucceeded, "", "", 0, -1},
		"nothing to do": {output(exec.JobSpec{}, "/etc"), exec.RunSucceeded, "", "", -1, -1},
	} {
		t.Run(name, func(t *testing.T) {
			r, out := newWorld(t).run(delegate.Payload{Spec: tt.spec, Timeout: tt.spec.Timeout})
			if r.Status != tt.status || r.Reason != tt.reason || !strings.Contains(r.Message, tt.words) || out != "" {
				t.Errorf("%s, %s, %q; wrote %q", r.Status, r.Reason, r.Message, out)
			}
			if code := number(r.ExitCode); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if entry := number(r.Entry); entry != tt.entry {
				t.Errorf("entry %d, want %d", entry, tt.entry)
			}
		})
	}
}

func number(n *int) int {
	if n == nil {
		return -1
	}
	return *n
}

// TestCancel: SIGTERM reaches the command, which may take its time, but not for ever.
func TestCancel(t *testing.T) {
	for name, tt := range map[string]struct {
		entry string
		grace time.Duration
	}{
		"takes the hint": {"echo up; sleep 1000", time.Hour},
		"cleans up":      {"trap 'echo down; exit 0' TERM; echo up; while :; do sleep 0.1; done", time.Hour},
		"does not":       {"trap '' TERM; echo up; while :; do sleep 0.1; done", 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			fifo := w.root + "/up"
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd, out := w.start(delegate.Payload{Spec: script(strings.ReplaceAll(tt.entry, "echo up", "echo up >/up")), Grace: tt.grace})
			if _, err := os.ReadFile(fifo); err != nil { // it runs
				t.Fatal(err)
			}
			cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
			if r := w.result(); r.Status != exec.RunCancelled || r.Reason != "" || cmd.ProcessState.ExitCode() != 130 {
				t.Errorf("result %+v, %s", r, cmd.ProcessState)
			}
			if down := strings.Contains(out.String(), "down"); down != (name == "cleans up") {
				t.Errorf("it wrote %q", out)
			}
		})
	}
}

// ware puts files into a warehouse; a name that ends in "/" is a directory.
func ware(t *testing.T, l *warehouse.Local, files map[string]string) warehouse.Record {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if err == nil {
			err = os.WriteFile(at, []byte(text), 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	rec, err := pack.Ingest(context.Background(), l, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// TestInputs: what arrives is copied to its port, hides what is there, and is packed
// as what it became.
func TestInputs(t *testing.T) {
	w := newWorld(t)
	l, err := warehouse.OpenLocal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	src := ware(t, l, map[string]string{"a": "a", "d/b": "b"})
	in := w.root + delegate.InputsDir
	if err := errors.Join(
		os.CopyFS(in+"/0", os.DirFS(l.Fileset(src))), os.CopyFS(in+"/1", os.DirFS(l.Fileset(src))),
		os.MkdirAll(w.root+"/src/old", 0o755), os.Chmod(in+"/0/d", 0o700), os.Chmod(in+"/0/a", 0o755),
	); err != nil {
		t.Fatal(err)
	}
	spec := output(script("test ! -e /src/old", "stat -c %a /src/a /src/d", "rm /src/a; echo c >/src/d/c; cat /ro/d/b"), "/src")
	spec = output(spec, "/ro/d")
	spec.Inputs = []exec.JobInput{{Port: "/ro", Ware: src.ID}, {Port: "/src", Ware: src.ID, Mode: formula.Overlay}}
	p := delegate.Payload{Spec: spec, Arrived: map[string]string{"/src": delegate.InputsDir + "/0", "/ro": delegate.InputsDir + "/1"}}
	r, out := w.run(p)
	if r.Status != exec.RunSucceeded || r.Placed != "copied" || out != "755\n700\nb" {
		t.Fatalf("result %+v, wrote %q", r, out)
	}
	if got, want := r.Outputs["d"], ware(t, l, map[string]string{"b": "b"}).ID; got == want {
		t.Errorf("mode 0644 and 0640 are the same: %s", got)
	}
	made, err := warehouse.OpenReader(w.root + delegate.Warehouse)
	if err != nil {
		t.Fatal(err)
	}
	if err := pack.Check(context.Background(), made, r.Outputs["src"]); err != nil {
		t.Error(err)
	}
	p.Spec = script("chmod 600 /ro/d/b")
	p.Spec.Inputs = spec.Inputs
	if r, _ := w.run(p); r.Status != exec.RunFailed || r.Reason != exec.ReasonInput || !strings.Contains(r.Message, "changed its input /ro, which is read-only") {
		t.Errorf("after a change to a read-only input: %+v", r)
	}
}

// TestRootAsOutput: what the environment put into the root is no part of it.
func TestRootAsOutput(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(w.root+"/.dockerenv", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	os.Remove(w.root + "/dev/null")
	os.WriteFile(w.root+"/dev/null", nil, 0o666)
	spec := script("true")
	spec.Outputs = []exec.JobOutput{{Name: "root", Path: "/", Packtype: pack.Tree}}
	r, _ := w.run(delegate.Payload{Spec: spec, Hidden: []string{"/.dockerenv", "/dev/null"}})
	if want, err := embedded.ToolboxID(); err != nil || r.Outputs["root"] != want {
		t.Errorf("%+v, want %s, %v", r, want, err)
	}
}

// TestResultThatIsTooLong is cut, or sent away.
func TestResultThatIsTooLong(t *testing.T) {
	w := newWorld(t)
	r, _ := w.run(delegate.Payload{Spec: exec.JobSpec{Command: []string{"/" + strings.Repeat("x", 4000)}}, ResultLimit: 1000})
	if text, _ := json.Marshal(r); r.Status != exec.RunFailed || len(text) > 1000 || !strings.HasPrefix(r.Message, "/xxx") {
		t.Errorf("result %+v", r)
	}
}

// TestStaleResult: what an earlier run left behind is not taken for this one's.
func TestStaleResult(t *testing.T) {
	for text, want := range map[string]string{
		`{"version":1,"run":"old","status":"succeeded"}`: `is of run "old"`,
		`{"version":1,"run":"new","status":"running"}`:   `status "running"`,
		`{"version":2,"run":"new","status":"failed"}`:    `of version 2`,
		`{"version":1,"ru`: "unexpected end",
	} {
		if _, err := delegate.Decode([]byte(text), "new"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestArguments: a payload survives being cut up for the command line.
func TestArguments(t *testing.T) {
	p := delegate.Payload{Run: "r", Spec: script(strings.Repeat("echo ü\n", 40_000))}
	args, err := p.Args()
	if err != nil || args[0] != delegate.Verb || len(args) < 4 {
		t.Fatal(len(args), err)
	}
	got, err := delegate.Parse(args[1:])
	if err != nil || got.Spec.Script[0] != p.Spec.Script[0] {
		t.Error("it is not what it was", err)
	}
	p.Spec.Script[0] = strings.Repeat("x", 2<<20)
	if _, err := p.Args(); err == nil {
		t.Error("a payload that does not fit is no error")
	}
}
