package exectest

import (
	"slices"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// made is the ware id that the suite's output has wherever it is made: a directory with
// the file "hello", mode 0644, that says "hello\nworld\n", and an empty directory "d".
var made, _ = warehouse.ParseWareID("tree:c3e43e568883ca8a76acf83c53f64ae2dff9f7adbd3336762c14a650d4877430-168")

func inputsAndOutputs(s *suite) {
	j := s.spec(`set -e
		cat /in/ro/hello /in/over/hello
		if echo x 2>/dev/null >/in/ro/hello; then echo written; fi
		echo world >>/in/over/hello
		mkdir -p /out/tree/d; cp /in/over/hello /out/tree/hello; chmod 644 /out/tree/hello`)
	j.Inputs = []exec.JobInput{
		{Port: "/in/over", Ware: s.Ware, Mode: formula.Overlay},
		{Port: "/in/ro", Ware: s.Ware, Mode: formula.ReadOnly},
	}
	j.Outputs = []exec.JobOutput{
		{Name: "again", Path: "/in/over", Packtype: "tree"},
		{Name: "tar", Path: "/out/tree", Packtype: "tar"},
		{Name: "tree", Path: "/out/tree", Packtype: "tree"},
	}
	if !s.Can.Wares {
		j.Inputs[0].Ware, j.Inputs[1].Ware = made, made
		s.refuses(j)
		return
	}
	if s.Can.Watched {
		run := s.do(j)
		s.ended(run, exec.RunFailed, exec.ReasonInput)
		if !strings.Contains(run.Message, "/in/ro") {
			s.Errorf("the input is not named: %s", run.Message)
		}
		j.Command[2] = strings.Replace(j.Command[2], "if echo x", "if false && echo x", 1)
	}
	run := s.do(j)
	s.ended(run, exec.RunSucceeded, "")
	if stdout, _ := s.logs(run.ID); stdout != "hello\nhello\n" {
		s.Errorf("%q", stdout)
	}
	if len(run.Outputs) != 3 || run.Outputs["tree"] != made {
		s.Errorf("outputs %v, want tree = %s", run.Outputs, made)
	}
	again := s.do(j)
	if again.Outputs["tree"] != run.Outputs["tree"] || again.Outputs["tar"] != run.Outputs["tar"] {
		s.Errorf("the second time %v", again.Outputs)
	}
}

func missingWares(s *suite) {
	for _, j := range []exec.JobSpec{
		s.spec("true", func(j *exec.JobSpec) {
			j.Inputs = []exec.JobInput{{Port: "/in", Ware: s.Missing, Mode: formula.ReadOnly}}
		}),
		s.spec("true", func(j *exec.JobSpec) { j.Root, j.Image = s.Missing, "" }),
	} {
		if s.Missing.IsZero() || !s.Can.Wares {
			continue
		}
		run, err := s.r.Submit(s.Context(), j)
		message := ""
		if err != nil {
			message = err.Error()
		} else {
			run = s.wait(run.ID)
			s.ended(run, exec.RunFailed, exec.ReasonInput)
			message = run.Message
		}
		if !strings.Contains(message, s.Missing.String()) {
			s.Errorf("the ware is not named: %s", message)
		}
	}
}

func missingOutput(s *suite) {
	j := s.spec("true", func(j *exec.JobSpec) {
		j.Outputs = []exec.JobOutput{{Name: "lib", Path: "/not/made", Packtype: "tree"}}
	})
	if !s.Can.Wares {
		s.refuses(j)
		return
	}
	run := s.do(j)
	s.ended(run, exec.RunFailed, exec.ReasonOutput)
	if !strings.Contains(run.Message, "lib") || !strings.Contains(run.Message, "/not/made") || run.Outputs != nil {
		s.Errorf("%s, outputs %v", run.Message, run.Outputs)
	}
}

func missingImage(s *suite) {
	j := s.spec("true", func(j *exec.JobSpec) {
		j.Root, j.Image = warehouse.WareID{}, "kiln.invalid/no/such/image:never"
	})
	if !s.Can.Image {
		s.refuses(j)
		return
	}
	j.Timeout = s.Can.Patience / 2 // where an environment tries again without end
	run, err := s.r.Submit(s.Context(), j)
	if err == nil {
		run = s.until(run.ID, func(r exec.Run) bool { return r.Reason == exec.ReasonImageMissing || r.Status.Ended() })
		s.cancel(run.ID)
		if run.Reason != exec.ReasonImageMissing {
			s.Errorf("%s %s: %s", run.Status, run.Reason, run.Message)
		}
		return
	}
	if !strings.Contains(err.Error(), "no/such/image") {
		s.Errorf("the image is not named: %v", err)
	}
}

// limited submits a run with a limit, or requires that the environment refuses it and
// runs it by best effort.
func (s *suite) limited(what, sh string, limits exec.Amounts) (exec.Run, bool) {
	s.Helper()
	j := s.spec(sh, func(j *exec.JobSpec) { j.Resources.Limits = limits })
	if slices.Contains(s.Can.Limits, what) {
		return s.do(j), true
	}
	s.refuses(j)
	j = s.spec("true", func(j *exec.JobSpec) { j.Resources.Limits, j.Resources.BestEffort = limits, true })
	run := s.do(j)
	s.ended(run, exec.RunSucceeded, "")
	if !slices.Contains(run.Unenforced, what) {
		s.Errorf("the record does not say that the limit was left out: %v", run.Unenforced)
	}
	return run, false
}

func memoryLimit(s *suite) {
	// The shell lives on when its child is killed: that still is no result.
	const eat = "head -c 200000000 /dev/zero | tail >/dev/null; exit 0"
	run, ok := s.limited("memory", eat, exec.Amounts{Memory: 64 << 20})
	if ok {
		s.ended(run, exec.RunFailed, exec.ReasonOutOfMemory)
	}
}

func pidsLimit(s *suite) {
	// None that has started makes room for another: it needs no second process, and stays.
	const fork = "i=0; while [ $i -lt 40 ]; do sh -c 'echo started; exec sleep 1000' & i=$((i+1)); done; sleep 2"
	if run, ok := s.limited("pids", fork, exec.Amounts{PIDs: 20}); ok {
		// A shell that cannot fork may go on or not.
		stdout, _ := s.logs(run.ID)
		if n := strings.Count(stdout, "started"); n >= 20 {
			s.Errorf("%d processes at once with a limit of 20", n)
		}
	}
}

func cpusLimit(s *suite) {
	if run, ok := s.limited("cpus", "true", exec.Amounts{CPUs: 0.5}); ok {
		s.ended(run, exec.RunSucceeded, "")
	}
}

// tooMuch requires that what nobody has is refused, or waited for until its time is up.
func tooMuch(s *suite) {
	j := s.spec("true", func(j *exec.JobSpec) { j.Resources.Requests.CPUs, j.Timeout = 1e5, 3*time.Second })
	run, err := s.r.Submit(s.Context(), j)
	if err != nil {
		if !strings.Contains(err.Error(), "cpus") {
			s.Errorf("the error does not say of what there is too little: %v", err)
		}
		return
	}
	run = s.wait(run.ID)
	s.ended(run, exec.RunFailed, exec.ReasonTimeout)
}

func user(s *suite) {
	j := s.spec("id -u; id -g", func(j *exec.JobSpec) { j.User = "1234:4321" })
	if !s.Can.User {
		s.refuses(j)
		return
	}
	run := s.do(j)
	s.ended(run, exec.RunSucceeded, "")
	if stdout, _ := s.logs(run.ID); stdout != "1234\n4321\n" {
		s.Errorf("%q", stdout)
	}
}

// network requires that the record says what kept the command from the network, and
// that this is so: nothing but a loopback is there.
func network(s *suite) {
	run := s.do(s.spec("cat /proc/net/dev"))
	s.ended(run, exec.RunSucceeded, "")
	if run.Offline != s.Can.Offline {
		s.Errorf("offline is %q, want %q", run.Offline, s.Can.Offline)
	}
	if run.Offline != exec.OfflineEnforced {
		return
	}
	stdout, _ := s.logs(run.ID)
	for line := range strings.Lines(stdout) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name != "lo" && !strings.Contains(line, "0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0") {
			s.Errorf("an offline run has the interface %s", name)
		}
	}
}
