package exec

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
)

// resourcesOf are what a step may use in this run.
func (r *run) resourcesOf(s *plan.Step) Resources {
	return Resources{Requests: s.Resources.Requests, Limits: s.Resources.Limits, BestEffort: r.Allow.Unlimited}
}

// limit makes the cgroup of a step that has limits. The error says why the step cannot
// have what it asks for.
func (r *run) limit(st *state) error {
	if st.group != nil || st.Resources == (formula.Resources{}) {
		return nil
	}
	resources := r.resourcesOf(st.Step)
	if err := container.Enough(resources.Requests.CPUs, resources.Requests.Memory); err != nil {
		return err
	}
	if resources.Limits == (Amounts{}) {
		return nil
	}
	group, left := container.NewGroup(LimitsOf(resources))
	if len(left) > 0 {
		if _, err := Enforceable(resources); err != nil {
			group.Remove()
			return err
		}
	}
	st.group = group
	return nil
}

// prepareIn has a step's container made, in its cgroup if it has one.
func (r *run) prepareIn(st *state, job wire.Job) error {
	if st.group == nil {
		return r.backend.Prepare(job)
	}
	procs, err := st.group.Procs()
	if err != nil {
		return fmt.Errorf("limit %s: %w", st.Addr, err)
	}
	defer func() {
		for _, f := range procs {
			f.Close()
		}
	}()
	if len(procs) == 0 { // none could be made, which the person allows
		return r.backend.Prepare(job)
	}
	job.GroupsOnly = true
	return r.backend.PrepareWith(job, procs)
}

// unlimit removes the cgroup of a step whose processes have ended, and those that the
// kernel was not done with before.
func (r *run) unlimit(st *state) {
	if st.group == nil {
		return
	}
	r.groups = append(r.groups, st.group)
	st.group = nil
	r.groups = slices.DeleteFunc(r.groups, (*container.Group).Remove)
}

// unlimitAll removes the cgroups that are left when everything has ended.
func (r *run) unlimitAll() {
	for _, st := range r.states {
		if st != nil && st.group != nil {
			r.groups = append(r.groups, st.group)
		}
	}
	for range 100 {
		if r.groups = slices.DeleteFunc(r.groups, (*container.Group).Remove); len(r.groups) == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// runPIDs is how many processes a run may have, so that each of its steps may have as
// many as it says.
func runPIDs(given uint64, steps []*plan.Step) uint64 {
	if given == 0 {
		given = defaultMaxPIDs()
		for _, s := range steps {
			if n := uint64(s.Resources.Limits.PIDs); n > 0 {
				given = max(given, n+DefaultMaxPIDs) // the others need some too
			}
		}
	}
	return given
}

// memoryError says that a step ran out of memory.
func (r *run) memoryError(st *state) *StepError {
	return &StepError{Failure: FailedMemory, Err: errors.New("ran out of memory: " + OutOfMemory(r.resourcesOf(st.Step)))}
}
