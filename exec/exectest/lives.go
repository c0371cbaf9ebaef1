package exectest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
)

// forever is a command that runs until it is ended, and tells when it runs.
const forever = "echo runs; while :; do sleep 1; done"

func timeout(s *suite) {
	run := s.do(s.spec(forever, func(j *exec.JobSpec) { j.Timeout = time.Second }))
	s.ended(run, exec.RunFailed, exec.ReasonTimeout)
	if run.ExitStatus() != 124 {
		s.Errorf("exit status %d", run.ExitStatus())
	}
	// One that ends well on SIGTERM has still not done what it was to do.
	run = s.do(s.spec("trap 'exit 0' TERM; "+forever, func(j *exec.JobSpec) { j.Timeout = time.Second }))
	s.ended(run, exec.RunFailed, exec.ReasonTimeout)
}

func (s *suite) cancel(id string) exec.Run {
	s.Helper()
	ctx, stop := context.WithTimeout(s.Context(), s.Can.Patience)
	defer stop()
	run, err := s.r.Cancel(ctx, id)
	if err != nil {
		s.Fatal(err)
	}
	return run
}

func cancelRunning(s *suite) {
	run := s.submit(s.spec("trap 'echo asked; exit 3' TERM; " + forever))
	s.untilLogged(run.ID, "runs")
	s.until(run.ID, func(r exec.Run) bool { return r.Status == exec.RunRunning })
	got := s.cancel(run.ID)
	s.ended(got, exec.RunCancelled, "")
	if stdout, _ := s.logs(run.ID); !strings.HasSuffix(stdout, "asked\n") {
		s.Errorf("it was not asked before it was made to: %q", stdout)
	}
}

func cancelStubborn(s *suite) {
	run := s.submit(s.spec("trap '' TERM; " + forever))
	s.untilLogged(run.ID, "runs")
	s.ended(s.cancel(run.ID), exec.RunCancelled, "")
}

func cancelAtOnce(s *suite) {
	run := s.submit(s.spec(forever))
	s.ended(s.cancel(run.ID), exec.RunCancelled, "")
}

func cancelEnded(s *suite) {
	run := s.do(s.spec("exit 3"))
	s.ended(s.cancel(run.ID), exec.RunFailed, exec.ReasonExit)
	run = s.submit(s.spec(forever))
	s.cancel(run.ID)
	s.ended(s.cancel(run.ID), exec.RunCancelled, "")
}

func cancelElsewhere(s *suite) {
	run := s.submit(s.spec(forever))
	s.untilLogged(run.ID, "runs")
	got, _ := s.other(order{Do: "cancel", ID: run.ID})
	s.ended(got, exec.RunCancelled, "")
	s.ended(s.wait(run.ID), exec.RunCancelled, "")
}

func waitElsewhere(s *suite) {
	run := s.submit(s.spec("exit 9"))
	got, _ := s.other(order{Do: "wait", ID: run.ID})
	s.ended(got, exec.RunFailed, exec.ReasonExit)
	if here := s.wait(run.ID); *here.ExitCode != 9 || *got.ExitCode != 9 || !here.Ended.Equal(got.Ended) {
		s.Errorf("here %+v\nthere %+v", here, got)
	}
}

func waitContext(s *suite) {
	run := s.submit(s.spec(forever))
	ctx, stop := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { _, err := s.r.Wait(ctx, run.ID); done <- err }()
	s.untilLogged(run.ID, "runs")
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		s.Errorf("Wait: %v", err)
	}
	if got, err := s.r.GetRun(s.Context(), run.ID); err != nil || got.Status.Ended() {
		s.Errorf("the run ended with the wait: %s %v", got.Status, err)
	}
	s.cancel(run.ID)
}

func submitterKilled(s *suite) {
	if !s.Can.Survives {
		s.Skip("runs of this environment end with the process that submits them")
	}
	// The command waits until its submitter is dead for sure.
	run, kill := s.other(order{Do: "submit", Submit: s.spec("trap 'echo told; exit 4' TERM; " + forever)})
	kill()
	s.untilLogged(run.ID, "runs")
	s.until(run.ID, func(r exec.Run) bool { return r.Status == exec.RunRunning })
	s.ended(s.cancel(run.ID), exec.RunCancelled, "")
	run, kill = s.other(order{Do: "submit", Submit: s.spec("sleep 0.2; echo done; exit 5")})
	kill()
	got := s.wait(run.ID)
	s.ended(got, exec.RunFailed, exec.ReasonExit)
	if stdout, _ := s.logs(run.ID); *got.ExitCode != 5 || stdout != "done\n" {
		s.Errorf("%+v %q", got, stdout)
	}
}

// nothingLeft requires that what a command leaves running ends with it: nobody holds its
// output open any more.
func nothingLeft(s *suite) {
	run := s.do(s.spec("(trap '' TERM HUP; while :; do echo still; sleep 0.02; done) & (setsid sleep 1000 || sleep 1000) & echo main"))
	s.ended(run, exec.RunSucceeded, "")
	before, _ := s.logs(run.ID)
	time.Sleep(100 * time.Millisecond) // of a process that goes on there would be more
	if after, _ := s.logs(run.ID); after != before || !strings.Contains(after, "main\n") {
		s.Errorf("a run that has ended wrote on: %d and then %d bytes", len(before), len(after))
	}
}

func listed(s *suite) {
	mark := registry.NewID()
	label := func(n string) func(*exec.JobSpec) {
		return func(j *exec.JobSpec) { j.Labels = map[string]string{"suite": mark, "n": n} }
	}
	first := s.do(s.spec("true", label("1")))
	second := s.do(s.spec("false", label("2")))
	ids := func(f exec.RunFilter) []string {
		runs, err := s.r.ListRuns(s.Context(), f)
		if err != nil {
			s.Fatal(err)
		}
		var ids []string
		for _, r := range runs {
			ids = append(ids, r.ID)
		}
		return ids
	}
	of := map[string]string{"suite": mark}
	for what, c := range map[string]struct {
		f    exec.RunFilter
		want []string
	}{
		"by label":      {exec.RunFilter{Labels: of}, []string{first.ID, second.ID}},
		"by two labels": {exec.RunFilter{Labels: map[string]string{"suite": mark, "n": "2"}}, []string{second.ID}},
		"by no label":   {exec.RunFilter{Labels: map[string]string{"suite": mark, "n": "3"}}, nil},
		"by status":     {exec.RunFilter{Labels: of, Status: []exec.RunStatus{exec.RunFailed, exec.RunCancelled}}, []string{second.ID}},
		"by name":       {exec.RunFilter{Labels: of, Name: first.Name}, []string{first.ID, second.ID}},
		"by other name": {exec.RunFilter{Labels: of, Name: "nobody's"}, nil},
		"by time":       {exec.RunFilter{Labels: of, Since: second.Created}, []string{second.ID}},
	} {
		if got := ids(c.f); !slices.Equal(got, c.want) {
			s.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}

func many(s *suite) {
	const n = 20
	ids := make([]string, n)
	var under sync.WaitGroup
	for i := range n {
		under.Go(func() {
			run, err := s.r.Submit(s.Context(), s.spec(fmt.Sprintf("echo %d; exit %d", i, i)))
			if err != nil {
				s.Error(err)
				return
			}
			ids[i] = run.ID
		})
	}
	under.Wait()
	if s.Failed() {
		return
	}
	for i, id := range ids {
		run := s.wait(id)
		if stdout, _ := s.logs(id); run.ExitCode == nil || *run.ExitCode != i || stdout != fmt.Sprintln(i) {
			s.Errorf("run %d: %+v, %q", i, run, stdout)
		}
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != n {
		s.Errorf("ids are not unique: %v", ids)
	}
	runs, err := s.r.ListRuns(s.Context(), exec.RunFilter{})
	if err != nil || !slices.IsSortedFunc(runs, func(a, b exec.Run) int { return strings.Compare(a.ID, b.ID) }) {
		s.Errorf("the list is not sorted: %v", err)
	}
	for i := 1; i < len(runs); i++ {
		if runs[i].Created.Before(runs[i-1].Created.Add(-time.Second)) {
			s.Errorf("%s was created before %s", runs[i].ID, runs[i-1].ID)
		}
	}
}

func noSuchRun(s *suite) {
	const id = "01900000-0000-7000-8000-000000000000"
	_, err1 := s.r.GetRun(s.Context(), id)
	_, err2 := s.r.Wait(s.Context(), id)
	_, err3 := s.r.Cancel(s.Context(), id)
	for i, err := range []error{err1, err2, err3, s.r.Logs(s.Context(), id, true, nil, nil)} {
		if !errors.Is(err, exec.ErrNoRun) {
			s.Errorf("%d: %v", i, err)
		}
	}
}
