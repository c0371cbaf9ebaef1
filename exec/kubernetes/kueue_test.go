package kubernetes_test

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes"
)

// lasting is a context that outlives the test's own, for what is to be cleaned up.
func lasting(t *testing.T) context.Context {
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(stop)
	return ctx
}

func TestQueueMissing(t *testing.T) {
	w := newWorld(t, "none-queue", func(o *kubernetes.Options) { o.Queue = "nowhere" })
	if err := w.r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("Check: %v", err)
	}
	run := w.submit(w.spec("true"))
	run = w.pending(run.ID, exec.ReasonInadmissible)
	if !strings.Contains(run.Message, "nowhere") {
		t.Errorf("the queue is not named: %s", run.Message)
	}
}

// TestQuotaNeverFree: what the queue will never have waits until its time is up.
func TestQuotaNeverFree(t *testing.T) {
	needCluster(t)
	t.Parallel()
	w := newWorld(t, "quota-queue", nil)
	j := w.spec("true")
	j.Resources.Requests.CPUs, j.Timeout = 50, 20*time.Second // in which Kueue looks at it, also on a slow machine
	run := w.wait(w.submit(j).ID)
	w.ended(run, exec.RunFailed, exec.ReasonTimeout)
	if !strings.Contains(run.Message, "pending") || !strings.Contains(run.Message, "cpu") {
		t.Errorf("it is not said what it waited for: %s", run.Message)
	}
}

// TestQueueOrder: what waits says how many are before it, and runs when its turn comes.
func TestQueueOrder(t *testing.T) {
	w := newWorld(t, "order-queue", nil)
	j := w.spec("sleep 4")
	j.Resources.Requests.CPUs = 1.5
	first := w.submit(j)
	w.until(first.ID, "running", func(r exec.Run) bool { return r.Status == exec.RunRunning })
	second, third := w.submit(j), w.submit(j)
	waiting := w.pending(third.ID, exec.ReasonQueued)
	w.until(third.ID, "a place", func(r exec.Run) bool { return strings.Contains(r.Message, "before it in the queue builds") })
	t.Log(waiting.Message)
	for _, id := range []string{first.ID, second.ID, third.ID} {
		w.ended(w.wait(id), exec.RunSucceeded, "")
	}
}

func TestPreempted(t *testing.T) {
	w := newWorld(t, "low-queue", nil)
	w.admin(`{"apiVersion":"kueue.x-k8s.io/v1beta1","kind":"WorkloadPriorityClass","metadata":{"name":"urgent"},"value":1000}`, "apply", "-f", "-")
	high := newWorld(t, "high-queue", func(o *kubernetes.Options) { o.PriorityClass = "urgent" })
	first := filepath.Join(clusterDir, "shared", "first-"+rand.Text())
	j := w.spec("echo begins; if mkdir " + first + " 2>/dev/null; then sleep 300; fi; echo ends")
	j.Resources.Requests.CPUs = 1.5
	low := w.submit(j)
	w.logged(low.ID, "begins")
	j.Command = []string{"/bin/sh", "-c", "sleep 3"}
	urgent := high.submit(j)
	got := w.pending(low.ID, exec.ReasonPreempted)
	if got.Message == "" || !got.Started.IsZero() {
		t.Errorf("a preempted run is pending again: %+v", got)
	}
	high.ended(high.wait(urgent.ID), exec.RunSucceeded, "")
	w.ended(w.wait(low.ID), exec.RunSucceeded, "")
	if log := w.log(low.ID); !strings.HasSuffix(log, "begins\nbegins\nends\n") {
		t.Errorf("the log is %q", log)
	}
}

func TestDeactivated(t *testing.T) {
	w := newWorld(t, "deactivated-queue", nil)
	run := w.submit(w.spec(slow))
	w.logged(run.ID, "line 0")
	name := w.admin("", "get", "workloads", "-o", `jsonpath={.items[?(@.metadata.ownerReferences[0].name=="kiln-`+run.ID+`")].metadata.name}`)
	w.admin("", "patch", "workload", name, "--type=merge", "-p", `{"spec":{"active":false}}`)
	run = w.wait(run.ID)
	w.ended(run, exec.RunFailed, exec.ReasonInadmissible)
	if !strings.Contains(run.Message, "deactivated") {
		t.Errorf("%s", run.Message)
	}
}
