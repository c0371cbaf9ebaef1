package kubernetes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes/api"
)

// held tells of a Job that Kueue keeps from running. After the end Kueue takes the
// conditions of quota back, so a Workload that has finished says nothing.
func (v view) held() (state, bool) {
	if !v.queued || !v.job.Spec.Suspend {
		return state{}, false
	}
	if v.workload == nil {
		return pending(exec.ReasonQueued, "Kueue has not looked at it yet"), true
	}
	conditions := v.workload.Status.Conditions
	if _, over := api.True(conditions, "Finished"); over {
		return state{}, false
	}
	if active := v.workload.Spec.Active; active != nil && !*active {
		why := api.Find(conditions, "Evicted").Message
		return failed(exec.ReasonInadmissible, "its Workload was deactivated: %s", orNothing(why)), true
	}
	quota := api.Find(conditions, "QuotaReserved")
	switch evicted, was := api.True(conditions, "Evicted"); {
	case quota.Status == "True":
		return pending(exec.ReasonQueued, "it has its quota and waits to be admitted"), true
	case was && evicted.Reason == "Preempted":
		return pending(exec.ReasonPreempted, "%s%s", evicted.Message, v.position()), true
	case was:
		return pending(exec.ReasonPreempted, "%s: %s%s", evicted.Reason, evicted.Message, v.position()), true
	case inadmissible(quota):
		return pending(exec.ReasonInadmissible, "%s", quota.Message), true
	}
	if quota.Message == "" {
		return pending(exec.ReasonQueued, "Kueue has not looked at it yet%s", v.position()), true
	}
	return pending(exec.ReasonQueued, "%s%s", quota.Message, v.position()), true
}

// inadmissible reports whether waiting does not help: its queue is not there, or closed.
func inadmissible(quota api.Condition) bool {
	if quota.Reason == "Inadmissible" {
		return true
	}
	return strings.Contains(quota.Message, "doesn't exist") || strings.Contains(quota.Message, "is inactive")
}

func orNothing(message string) string {
	if message == "" {
		return "Kueue does not say why"
	}
	return message
}

// position is where in its queue a run is.
func (v view) position() string {
	if v.ahead < 0 {
		return ""
	}
	return fmt.Sprintf(" (%d before it in the queue %s)", v.ahead, v.workload.Spec.QueueName)
}

// evictedFromQueue reports whether Kueue has taken back the quota of a run that has it no more.
func (v view) evictedFromQueue() bool {
	if v.workload == nil {
		return false
	}
	_, evicted := api.True(v.workload.Status.Conditions, "Evicted")
	_, finished := api.True(v.workload.Status.Conditions, "Finished")
	return evicted && !finished
}

// order is in which order Kueue looks at what waits.
func order(a, b *api.Workload) int {
	return cmp.Or(
		cmp.Compare(b.Spec.Priority, a.Spec.Priority),
		a.Metadata.CreationTimestamp.Compare(b.Metadata.CreationTimestamp),
		cmp.Compare(a.Metadata.Name, b.Metadata.Name),
	)
}

// waits reports whether a workload is in its queue.
func waits(w *api.Workload) bool {
	_, quota := api.True(w.Status.Conditions, "QuotaReserved")
	_, finished := api.True(w.Status.Conditions, "Finished")
	return !quota && !finished && (w.Spec.Active == nil || *w.Spec.Active)
}

// rank returns for each Workload that waits, by its name, how many wait before it in its queue.
func rank(all map[string]*api.Workload) map[string]int {
	queues := map[string][]*api.Workload{}
	for _, w := range all {
		if waits(w) {
			queues[w.Spec.QueueName] = append(queues[w.Spec.QueueName], w)
		}
	}
	ahead := map[string]int{}
	for _, queue := range queues {
		slices.SortFunc(queue, order)
		for i, w := range queue {
			ahead[w.Metadata.Name] = i
		}
	}
	return ahead
}
