// Package exectest is the suite that every runner passes, against its real environment.
// What an environment cannot do it says in Can; the suite then requires that it says so
// as well, by an error of Submit that matches exec.ErrUnsupported.
package exectest

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/warehouse"
)

// An Environment is a runner to be tested.
type Environment struct {
	// Connect returns the runner over the registry (and warehouse, and whatever else) in
	// dir, as a new kiln process would. The suite calls it several times, and in processes
	// of its own: TestMain must call Main.
	Connect func(dir string) (exec.Runner, error)
	Dir     string
	Base    exec.JobSpec // what all runs of the suite have: Root or Image; a Unix shell is there at /bin/sh
	Can     Capabilities
	// Wares are two inputs for the suite: a fileset with the file "hello" in it that says
	// "hello\n", and one that is no ware of anybody's.
	Ware, Missing warehouse.WareID
}

// Capabilities are what environments differ in.
type Capabilities struct {
	Wares    bool     // inputs at ports, and outputs
	Watched  bool     // read-only inputs are not protected: a run whose command writes to one fails
	Split    bool     // stdout and stderr are kept apart
	User     bool     // commands run as any user
	Image    bool     // an image that nobody has is found missing, as a reason
	Limits   []string // what is limited here: "cpus", "memory", "pids"
	Offline  exec.Offline
	Survives bool          // runs go on when the submitting process is killed
	Signals  bool          // that a signal ended a command is told from an exit code
	Patience time.Duration // how long anything may take; 0: a minute
}

// Limits are the limits that cgroups keep for this user on this machine.
func Limits() (names []string) {
	for name, l := range map[string]container.Limits{"cpus": {CPUs: 1}, "memory": {Memory: 1 << 30}, "pids": {PIDs: 100}} {
		g, left := container.NewGroup(l)
		if g.Remove(); len(left) == 0 {
			names = append(names, name)
		}
	}
	return names
}

// Run runs the suite.
func Run(t *testing.T, e Environment) {
	if e.Can.Patience == 0 {
		e.Can.Patience = patience
	}
	r, err := e.Connect(e.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(t.Context()); err != nil {
		t.Fatalf("the environment is not usable: %v", err)
	}
	s := &suite{Environment: e, r: r}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(&suite{T: t, Environment: s.Environment, r: r}) })
	}
}

const patience = time.Minute

var tests = []struct {
	name string
	run  func(*suite)
}{
	{"exit codes", exitCodes},
	{"signal", signalled},
	{"output in order", outputInOrder},
	{"output opened anew", logReopened},
	{"environment", environment},
	{"huge environment", hugeEnvironment},
	{"directory", directory},
	{"stdin is empty", stdinEmpty},
	{"big log in one line", bigLine},
	{"log over its limit", overLogLimit},
	{"logs are followed", followed},
	{"script", script},
	{"command not found", notFound},
	{"wrong specifications", wrong},
	{"timeout", timeout},
	{"cancel while it runs", cancelRunning},
	{"cancel a command that ignores it", cancelStubborn},
	{"cancel at once", cancelAtOnce},
	{"cancel after the end, and twice", cancelEnded},
	{"cancel from another process", cancelElsewhere},
	{"wait from another process", waitElsewhere},
	{"wait ends with its context", waitContext},
	{"submitter killed", submitterKilled},
	{"nothing is left behind", nothingLeft},
	{"list and filters", listed},
	{"many at once", many},
	{"no such run", noSuchRun},
	{"inputs and outputs", inputsAndOutputs},
	{"missing wares", missingWares},
	{"missing output", missingOutput},
	{"missing image", missingImage},
	{"limit of memory", memoryLimit},
	{"limit of processes", pidsLimit},
	{"limit of cpus", cpusLimit},
	{"more than there is", tooMuch},
	{"user", user},
	{"network", network},
}

// A suite is one test of the suite.
type suite struct {
	*testing.T
	Environment
	r exec.Runner
}

// spec is a run of a shell script.
func (s *suite) spec(sh string, more ...func(*exec.JobSpec)) exec.JobSpec {
	j := s.Base
	j.Name = strings.ReplaceAll(s.Name(), "/", ".")
	j.Command = []string{"/bin/sh", "-c", sh}
	j.Env = slices.Concat(j.Env, []string{"PATH=/usr/local/bin:/usr/bin:/bin"})
	for _, f := range more {
		f(&j)
	}
	return j
}

func (s *suite) submit(j exec.JobSpec) exec.Run {
	s.Helper()
	run, err := s.r.Submit(s.Context(), j)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if s.Failed() {
			got, _ := s.r.GetRun(s.Context(), run.ID)
			text, _ := json.MarshalIndent(got, "", " ")
			s.Logf("%s", text)
		}
	})
	return run
}

func (s *suite) wait(id string) exec.Run {
	s.Helper()
	type result struct {
		exec.Run
		err error
	}
	ended := make(chan result, 1)
	go func() {
		run, err := s.r.Wait(s.Context(), id)
		ended <- result{run, err}
	}()
	select {
	case got := <-ended:
		if got.err != nil {
			s.Fatal(got.err)
		}
		if !got.Status.Ended() || got.ID != id {
			s.Fatalf("Wait returned run %s, %s", got.ID, got.Status)
		}
		return got.Run
	case <-time.After(s.Can.Patience):
		run, _ := s.r.GetRun(s.Context(), id)
		s.Fatalf("the run has not ended within %s: %s %s %s", s.Can.Patience, run.Status, run.Reason, run.Message)
	}
	panic("not reached")
}

// do submits a run and waits for it.
func (s *suite) do(j exec.JobSpec) exec.Run {
	s.Helper()
	return s.wait(s.submit(j).ID)
}

// logs returns what a run has written.
func (s *suite) logs(id string) (stdout, stderr string) {
	s.Helper()
	var out, errs strings.Builder
	if err := s.r.Logs(s.Context(), id, false, &out, &errs); err != nil {
		s.Fatal(err)
	}
	return out.String(), errs.String()
}

// ended fails the test unless the run ended so.
func (s *suite) ended(run exec.Run, status exec.RunStatus, reason exec.RunReason) {
	s.Helper()
	if run.Status != status || run.Reason != reason {
		s.Fatalf("the run is %s %q (%s), want %s %q", run.Status, run.Reason, run.Message, status, reason)
	}
	if run.Ended.IsZero() || run.Created.IsZero() || status == exec.RunSucceeded && run.Ended.Before(run.Started) {
		s.Errorf("created %v, started %v, ended %v", run.Created, run.Started, run.Ended)
	}
}

// until looks at a run until it is as wanted.
func (s *suite) until(id string, wanted func(exec.Run) bool) exec.Run {
	s.Helper()
	for deadline := time.Now().Add(s.Can.Patience); ; time.Sleep(5 * time.Millisecond) {
		run, err := s.r.GetRun(s.Context(), id)
		if err != nil {
			s.Fatal(err)
		}
		if wanted(run) {
			return run
		}
		if run.Status.Ended() || time.Now().After(deadline) {
			s.Fatalf("the run is %s %q (%s)", run.Status, run.Reason, run.Message)
		}
	}
}

// eventually waits until something is so.
func (s *suite) eventually(what string, so func() bool) {
	s.Helper()
	for deadline := time.Now().Add(s.Can.Patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("waited %s until %s", s.Can.Patience, what)
		}
	}
}

// untilLogged waits until a run has written something.
func (s *suite) untilLogged(id, text string) {
	s.Helper()
	s.until(id, func(exec.Run) bool {
		stdout, _ := s.logs(id)
		return strings.Contains(stdout, text)
	})
}

// refuses requires that the runner refuses a specification as what it cannot do.
func (s *suite) refuses(j exec.JobSpec) {
	s.Helper()
	run, err := s.r.Submit(s.Context(), j)
	if err == nil {
		s.Fatalf("it was submitted, as %s, although the environment cannot do it", run.ID)
	}
	if !isUnsupported(err) {
		s.Errorf("the error does not say that the runner cannot: %v", err)
	}
}

// Main is what TestMain calls first: in the suite's own processes it does what they are
// for, and does not return.
func Main(connect func(dir string) (exec.Runner, error)) {
	text := os.Getenv("KILN_EXECTEST")
	if text == "" {
		return
	}
	if err := elsewhere(connect, text); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
