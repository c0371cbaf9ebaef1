package kubernetes

import (
	"fmt"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/exec/kubernetes/api"
)

// A view is what the cluster says of a run.
type view struct {
	job      *api.Job // nil: there is none
	pod      *api.Pod // the newest; nil: there is none
	workload *api.Workload
	ahead    int  // runs before this one in its queue; -1: not known
	queued   bool // the run goes through Kueue
}

// A state is what that means.
type state struct {
	exec.RunStatus
	reason  exec.RunReason
	message string
	result  *delegate.Result // the helper's word, of a run that has ended
	exit    *api.Terminated
	since   time.Time // when it began to be so, by the cluster's clock; zero: not known
	patient bool      // it may pass: it has failed when it lasts
}

func pending(reason exec.RunReason, format string, args ...any) state {
	return state{RunStatus: exec.RunPending, reason: reason, message: fmt.Sprintf(format, args...)}
}

func failed(reason exec.RunReason, format string, args ...any) state {
	return state{RunStatus: exec.RunFailed, reason: reason, message: fmt.Sprintf(format, args...)}
}

// observe says how a run is. It is told what there is, and asks nobody.
func observe(id string, v view) state {
	if v.job == nil {
		return failed(exec.ReasonLost, "the cluster has no Job of it any more")
	}
	if deadline, ok := api.True(v.job.Status.Conditions, "Failed"); ok && deadline.Reason == "DeadlineExceeded" {
		return failed(exec.ReasonTimeout, "the cluster ended it: %s", deadline.Message)
	}
	if s, ended := v.ended(id); ended {
		return s
	}
	if s, held := v.held(); held {
		return s
	}
	if v.pod == nil {
		if over, ok := api.True(v.job.Status.Conditions, "Failed"); ok {
			return failed(exec.ReasonEvicted, "its pod is gone: %s", over.Message)
		}
		if _, ok := api.True(v.job.Status.Conditions, "Complete"); ok {
			return failed(exec.ReasonLost, "its pod is gone, and with it the result")
		}
		return pending("", "its pod has not been made yet")
	}
	return v.starting()
}

// ended tells of a pod that has ended.
func (v view) ended(id string) (state, bool) {
	if v.pod == nil {
		return state{}, false
	}
	exit := terminated(v.pod.Status.ContainerStatuses)
	if exit == nil {
		return v.neverRan()
	}
	s := state{exit: exit}
	if result, err := delegate.Decode([]byte(exit.Message), id); err == nil {
		s.result = &result
	}
	switch {
	case s.result != nil && s.result.Status == exec.RunCancelled: // somebody ended it, who was not asked to by us
		return v.interrupted(s)
	case exit.Reason == "OOMKilled" && (s.result == nil || s.result.Reason != exec.ReasonTimeout):
		// Whatever its exit code says: the victim need not have been the first process.
		s.RunStatus, s.reason, s.message = exec.RunFailed, exec.ReasonOutOfMemory, "its memory was used up"
	case s.result != nil:
		s.RunStatus, s.reason, s.message = s.result.Status, s.result.Reason, s.result.Message
	case v.disrupted() != "" || !v.pod.Metadata.DeletionTimestamp.IsZero() || v.job.Spec.Suspend:
		return v.interrupted(s)
	case unstarted(exit):
		s.RunStatus, s.reason, s.message = exec.RunFailed, exec.ReasonNotBegun, exit.Message
	default:
		s.RunStatus, s.reason = exec.RunFailed, exec.ReasonLost
		s.message = fmt.Sprintf("kiln's helper ended with exit code %d (%s) and left no result: its log may say why", exit.ExitCode, exit.Reason)
	}
	return s, true
}

// interrupted tells of a pod that was asked to end: why must be known before it counts.
func (v view) interrupted(s state) (state, bool) {
	s.result = nil
	why := v.disrupted()
	switch {
	case v.job.Spec.Suspend || v.queued && v.evictedFromQueue():
		return v.held()
	case why != "":
		s.RunStatus, s.reason, s.message = exec.RunFailed, exec.ReasonEvicted, why
	case !v.job.Metadata.DeletionTimestamp.IsZero():
		s.RunStatus, s.message = exec.RunCancelled, "its Job was deleted"
	case !v.pod.Metadata.DeletionTimestamp.IsZero():
		if _, over := api.True(v.job.Status.Conditions, "Failed"); over {
			s.RunStatus, s.reason, s.message = exec.RunFailed, exec.ReasonEvicted, "its pod was deleted"
			break
		}
		fallthrough
	default:
		if _, over := api.True(v.job.Status.Conditions, "Failed"); over {
			s.RunStatus, s.reason, s.message = exec.RunFailed, exec.ReasonEvicted, "its pod was ended by somebody else"
			break
		}
		s = state{RunStatus: exec.RunRunning, message: "its pod is being ended"}
	}
	return s, true
}

// neverRan tells of a pod that ended before its container ran.
func (v view) neverRan() (state, bool) {
	if init := terminated(v.pod.Status.InitContainerStatuses); init != nil && init.ExitCode != 0 {
		if unstarted(init) {
			return failed(exec.ReasonNotBegun, "%s", init.Message), true
		}
		return failed(exec.ReasonSetup, "kiln's helper could not be put into the pod: exit code %d %s", init.ExitCode, init.Message), true
	}
	if v.pod.Status.Phase != "Failed" {
		return state{}, false
	}
	why := v.disrupted()
	if why == "" {
		why = strings.TrimSpace(v.pod.Status.Reason + ": " + v.pod.Status.Message)
	}
	return failed(exec.ReasonEvicted, "%s", why), true
}

// disrupted says why the cluster, and not the command, has ended the pod; "": it has not.
func (v view) disrupted() string {
	if v.pod == nil {
		return ""
	}
	if c, ok := api.True(v.pod.Status.Conditions, "DisruptionTarget"); ok {
		return c.Message
	}
	switch v.pod.Status.Reason {
	case "Evicted", "NodeLost", "NodeShutdown", "Shutdown", "Terminated", "Preempting":
		return strings.TrimSpace(v.pod.Status.Reason + ": " + v.pod.Status.Message)
	}
	return ""
}

// unstarted reports whether the node could not start a container's first process.
func unstarted(t *api.Terminated) bool {
	return strings.HasSuffix(t.Reason, "StartError") || t.Reason == "ContainerCannotRun"
}

func terminated(all []api.Container) *api.Terminated {
	for _, c := range all {
		if c.State.Terminated != nil {
			return c.State.Terminated
		}
	}
	return nil
}

// starting tells of a pod that has not ended.
func (v view) starting() state {
	if v.pod.Status.Phase == "Running" {
		return state{RunStatus: exec.RunRunning}
	}
	if c := api.Find(v.pod.Status.Conditions, "PodScheduled"); c.Status == "False" {
		return pending(exec.ReasonUnschedulable, "%s", c.Message)
	}
	for _, c := range append(v.pod.Status.InitContainerStatuses, v.pod.Status.ContainerStatuses...) {
		if w := c.State.Waiting; w != nil {
			if s, bad := waiting(w); bad {
				s.since = v.pod.Metadata.CreationTimestamp
				return s
			}
		}
	}
	if v.pod.Spec.NodeName != "" {
		return pending("", "its pod is being made on node %s", v.pod.Spec.NodeName)
	}
	return pending("", "its pod waits for a node")
}

// waiting tells of a container that is kept from starting by more than time.
func waiting(w *api.Waiting) (state, bool) {
	var s state
	switch w.Reason {
	case "ErrImageNeverPull", "InvalidImageName", "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable":
		s = pending(exec.ReasonImageMissing, "%s: %s", w.Reason, w.Message)
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		s = pending(exec.ReasonSetup, "%s: %s", w.Reason, w.Message)
	default:
		return s, false
	}
	s.patient = true
	return s, true
}
