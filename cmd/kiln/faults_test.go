package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// faultsFormula has every phase: a ware to ingest, steps at once, outputs that are
// taken where they lie and ones that are copied, and a step that needs them all.
const faultsFormula = `
ware "base" { builtin = "toolbox" }
ware "src" { path = "src" }
step "part" {
  for_each = toset(["1", "2", "3"])
  inputs   = { "/" = ware.base, "/src" = { from = ware.src, mode = "overlay" } }
  script   = ["mkdir -p /out/locked; cp -r /src/d1 /out/; echo ${each.key} > /src/new", "chmod 500 /out/locked"]
  outputs  = { out = "/out", src = "/src" }
}
step "sum" {
  inputs  = merge({ "/" = ware.base }, { for k, v in step.part : "/in/${k}" => v.out })
  script  = ["cat /in/*/d1/* | sha256sum > /sum"]
  outputs = { sum = "/sum" }
}
output "sum" { value = step.sum.sum }
output "part" { value = step.part["2"].src }
`

// A faultsDir is a formula and kiln's own directories, with a real kiln process.
type faultsDir struct {
	*testing.T
	dir, data string
}

func newFaultsDir(t *testing.T) *faultsDir {
	t.Helper()
	if _, err := binaries(); err != nil {
		t.Skip("built without the executor: run make build")
	}
	f := &faultsDir{t, t.TempDir(), filepath.Join(t.TempDir(), "data")}
	for i := range 300 {
		f.write(fmt.Sprintf("src/d%d/f%d", i%3, i), strings.Repeat("x", i))
	}
	f.write("kiln.hcl", faultsFormula)
	return f
}

func (f *faultsDir) write(name, text string) {
	f.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.Fatal(err)
	}
}

func (f *faultsDir) env() []string {
	return append(os.Environ(), "HOME=", "KILN_DATA_HOME="+f.data, "KILN_CACHE_HOME="+f.data+"-cache", "KILN_CONFIG_HOME="+f.data+"-config")
}

// command prepares kiln, run in the formula's directory.
func (f *faultsDir) command(args ...string) (cmd *osexec.Cmd, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd = osexec.Command("kiln", args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = f.dir, f.env(), stdout, stderr
	return cmd, stdout, stderr
}

// run runs kiln and returns what it printed; it must end well.
func (f *faultsDir) run(args ...string) string {
	f.Helper()
	cmd, stdout, stderr := f.command(args...)
	if err := cmd.Run(); err != nil {
		f.Fatalf("kiln %v: %v\n%s", args, err, stderr)
	}
	return stdout.String()
}

// clean checks that the last run left no work behind.
func (f *faultsDir) clean() {
	f.Helper()
	left, err := os.ReadDir(f.data + "/warehouse/work")
	if err != nil || len(left) > 0 {
		f.Errorf("work directory holds %v (%v)", left, err)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), f.data) {
		f.Error("something is still mounted")
	}
}

// awaitDead waits until no executor is alive: one holds a lock on its directory.
func (f *faultsDir) awaitDead() {
	f.Helper()
	runs, _ := filepath.Glob(f.data + "/warehouse/work/run-*")
	for _, run := range runs {
		dir, err := os.Open(run)
		if err != nil {
			continue
		}
		if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
			f.Error(err)
		}
		dir.Close()
	}
}

// TestKilledAnywhere kills kiln at random moments, in a warehouse that is empty or
// has what earlier kilns left: the next run gives the same and clears up.
func TestKilledAnywhere(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	f := newFaultsDir(t)
	began := time.Now()
	want := f.run("run")
	whole := time.Since(began)
	killed := 0
	for range 15 {
		if random.IntN(2) == 0 {
			f.data = filepath.Join(t.TempDir(), "data")
		}
		cmd, _, stderr := f.command("run", "--force")
		began := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		moment := time.AfterFunc(time.Duration(random.Int64N(int64(whole))), func() { cmd.Process.Kill() })
		if cmd.Wait() != nil {
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
				t.Fatalf("exit code %d before it was killed:\n%s", status.ExitStatus(), stderr)
			}
			killed++
		} else {
			whole = time.Since(began) // the machine has become faster
		}
		moment.Stop()
		f.awaitDead()
		if got := f.run("run"); got != want {
			t.Errorf("after a kill: got %s, want %s", got, want)
		}
		f.run("run", "--force", "-t", "sum")
		// Runs clear up on the side, and leave what they have no time for to the next.
		for range 20 {
			if left, _ := os.ReadDir(f.data + "/warehouse/work"); len(left) == 0 {
				break
			}
			f.run("run", "--force", "-t", "sum")
		}
		f.clean()
	}
	if killed == 0 {
		t.Error("no kiln was killed before it ended")
	}
}

// TestKilnsAtOnce: kilns that share all their directories do not disturb one another.
func TestKilnsAtOnce(t *testing.T) {
	f := newFaultsDir(t)
	results := make([]string, 4)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			cmd, stdout, stderr := f.command("run")
			if err := cmd.Run(); err != nil {
				t.Errorf("kiln %d: %v\n%s", i, err, stderr)
			}
			results[i] = stdout.String()
		})
	}
	all.Wait()
	for _, r := range results {
		if r != results[0] || r == "" {
			t.Errorf("results differ: %q", results)
		}
	}
	f.clean()
}

// TestOddDataDirectories: nothing in the name of kiln's directory is taken for mount
// options or for text.
func TestOddDataDirectories(t *testing.T) {
	f := newFaultsDir(t)
	want := f.run("run")
	for _, name := range []string{"a b:c,d\\e\nf", "lowerdir=x,upperdir=y:", "\xff\x1b[31m\"'", strings.Repeat(strings.Repeat("n", 200)+"/", 12)} {
		f.data = filepath.Join(t.TempDir(), name)
		if got := f.run("run"); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
}

// TestUmask: what kiln makes does not depend on it.
func TestUmask(t *testing.T) {
	f := newFaultsDir(t)
	want := f.run("run")
	f.data = filepath.Join(t.TempDir(), "data")
	cmd, stdout, stderr := f.command()
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", "umask 077; exec kiln run"}
	if err := cmd.Run(); err != nil || stdout.String() != want {
		t.Errorf("%v: got %s, want %s\n%s", err, stdout, want, stderr)
	}
}

// TestFullDisk: a run that finds no room says so, and goes on where there is room.
func TestFullDisk(t *testing.T) {
	f := newFaultsDir(t)
	want := f.run("run")
	script := `
		mount -t tmpfs -o size=24m kiln "$KILN_DATA_HOME" || exit 77
		kiln run -q -t part >&2 || exit 1
		head -c 24m /dev/zero > "$KILN_DATA_HOME/filler" 2>/dev/null
		kiln run && exit 2
		rm "$KILN_DATA_HOME/filler"
		kiln run
	`
	f.data = t.TempDir()
	cmd, stdout, stderr := f.inNamespaces("sh", "-c", script)
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() == 77 {
		t.Skipf("cannot mount a small file system: %v %s", err, stderr)
	}
	if err != nil || stdout.String() != want || !strings.Contains(stderr.String(), "no space left on device") || !strings.Contains(stderr.String(), "kiln gc --max-size makes room") {
		t.Errorf("%v: got %s, want %s\n%s", err, stdout, want, stderr)
	}
}

// TestExecutorOpensNoConnection: from resolving on, kiln, its executor, packer and
// steps make sockets of their own machine only.
func TestExecutorOpensNoConnection(t *testing.T) {
	if _, err := osexec.LookPath("strace"); err != nil {
		t.Skip("there is no strace to look with")
	}
	f := newFaultsDir(t)
	trace := filepath.Join(t.TempDir(), "trace")
	cmd, _, stderr := f.inNamespaces("strace", "-f", "-o", trace, "-e", "trace=socket", "kiln", "run")
	if err := cmd.Run(); err != nil {
		t.Skipf("cannot trace here: %v\n%s", err, stderr)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	families := regexp.MustCompile(`socket\((\w+)`).FindAllStringSubmatch(string(text), -1)
	if len(families) == 0 {
		t.Errorf("no socket was seen, not even the one that brings up a step's loopback:\n%.1000s", text)
	}
	for _, m := range families {
		if m[1] != "AF_UNIX" && m[1] != "AF_NETLINK" {
			t.Errorf("a socket of family %s was made", m[1])
		}
	}
}

// inNamespaces prepares a command as root of user and mount namespaces of its own:
// one that may mount, and whose children no set-user-id program helps.
func (f *faultsDir) inNamespaces(args ...string) (cmd *osexec.Cmd, stdout, stderr *bytes.Buffer) {
	f.Helper()
	unshare, err := osexec.LookPath("unshare")
	if err != nil {
		f.Skip(err)
	}
	cmd, stdout, stderr = f.command()
	cmd.Path, cmd.Args = unshare, append([]string{"unshare", "-r", "-m"}, args...)
	return cmd, stdout, stderr
}
