package exectest

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
)

// RunSupervised runs what the runners of this machine pass besides, whose runs have a
// supervisor.
func RunSupervised(t *testing.T, e Environment) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"supervisor killed", supervisorKilled},
		{"supervisor asked to end", supervisorTerminated},
		{"submitter killed before there was a supervisor", neverSupervised},
		{"log on a full disk", logOnFullDisk},
		{"submit on a full disk", submitOnFullDisk},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := e
			if e.Can.Patience == 0 {
				e.Can.Patience = patience
			}
			r, err := e.Connect(e.Dir)
			if err != nil {
				t.Fatal(err)
			}
			test.run(&suite{T: t, Environment: e, r: r})
		})
	}
}

// processesWith returns the processes that have text in their command line.
func processesWith(text string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		line, _ := os.ReadFile(file)
		if bytes.Contains(line, []byte(text)) {
			pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// marked is a command that runs forever, with a child, both with a mark on their command
// lines.
func (s *suite) marked() (spec exec.JobSpec, mark string) {
	mark = registry.NewID()
	return s.spec("sh -c 'while :; do sleep 1; done' " + mark + " & echo runs; while :; do sleep 1; done # " + mark), mark
}

func supervisorKilled(s *suite) {
	spec, mark := s.marked()
	run := s.submit(spec)
	s.untilLogged(run.ID, "runs")
	s.until(run.ID, func(r exec.Run) bool { return r.Status == exec.RunRunning }) // by then its processes can be found
	supervisors := processesWith(run.Dir)
	if len(supervisors) != 1 || len(processesWith(mark)) == 0 {
		s.Fatalf("%d supervisors, %d processes", len(supervisors), len(processesWith(mark)))
	}
	unix.Kill(supervisors[0], unix.SIGKILL)
	s.ended(s.wait(run.ID), exec.RunFailed, exec.ReasonLost)
	s.eventually("its processes end", func() bool { return len(processesWith(mark)) == 0 })
}

func supervisorTerminated(s *suite) {
	spec, mark := s.marked()
	run := s.submit(spec)
	s.untilLogged(run.ID, "runs")
	for _, pid := range processesWith(run.Dir) {
		unix.Kill(pid, unix.SIGTERM)
	}
	s.ended(s.wait(run.ID), exec.RunCancelled, "")
	if left := processesWith(mark); len(left) > 0 {
		s.Errorf("processes %v are left", left)
	}
}

func neverSupervised(s *suite) {
	g := registry.Open(filepath.Join(s.Dir, "runs"))
	other := s.do(s.spec("true")) // tells the runner's name
	run, hold, err := g.Create(exec.Run{Runner: other.Runner, Spec: s.spec("true")})
	if err != nil {
		s.Fatal(err)
	}
	hold.Close()
	s.ended(s.wait(run.ID), exec.RunFailed, exec.ReasonLost)
	s.ended(s.cancel(run.ID), exec.RunFailed, exec.ReasonLost)
}

// onSmallDisk returns the suite with its runs on a disk of 1 MiB.
func (s *suite) onSmallDisk() *suite {
	s.Helper()
	dir := filepath.Join(s.Dir, "runs")
	if err := unix.Mount("small", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m,mode=0700"); err != nil {
		s.Skipf("needs a small disk: mount a tmpfs: %v (be root)", err)
	}
	s.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return s
}

func logOnFullDisk(s *suite) {
	s.onSmallDisk()
	run := s.submit(s.spec("head -c 3000000 /dev/zero; echo end >&2"))
	got := s.wait(run.ID)
	if !strings.Contains(got.Message, "no space left") {
		s.Errorf("%s %s: %q says nothing of the disk", got.Status, got.Reason, got.Message)
	}
}

func submitOnFullDisk(s *suite) {
	s.onSmallDisk()
	dir := filepath.Join(s.Dir, "runs")
	os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 2<<20), 0o600)
	_, err := s.r.Submit(s.Context(), s.spec("true"))
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		s.Errorf("Submit: %v", err)
	}
	os.Truncate(filepath.Join(dir, "fill"), 0)
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		s.Errorf("it left %v", entries)
	}
}
