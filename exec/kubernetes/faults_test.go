package kubernetes_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/exectest"
	"github.com/kilnbuild/kiln/exec/kubernetes"
	"github.com/kilnbuild/kiln/warehouse"
)

// A world is a runner and what it runs in, with an administrator's eyes on the cluster.
type world struct {
	*testing.T
	exectest.Environment
	r *kubernetes.Runner
}

// newWorld makes a runner; change, if not nil, changes its configuration.
func newWorld(t *testing.T, name string, change func(*kubernetes.Options)) *world {
	t.Helper()
	e := environment(t, name)
	return &world{t, e, again(t, e, change)}
}

// again is the runner of a new kiln process.
func again(t *testing.T, e exectest.Environment, change func(*kubernetes.Options)) *kubernetes.Runner {
	t.Helper()
	o, err := options(e.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&o)
	}
	r, err := kubernetes.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func (w *world) spec(sh string) exec.JobSpec {
	j := w.Base
	j.Name, j.Command, j.Env = w.Name(), []string{"/bin/sh", "-c", sh}, []string{"PATH=/bin"}
	return j
}

func (w *world) submit(j exec.JobSpec) exec.Run {
	w.Helper()
	run, err := w.r.Submit(w.Context(), j)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { w.r.Cancel(lasting(w.T), run.ID) })
	return run
}

func (w *world) wait(id string) exec.Run {
	w.Helper()
	run, err := w.r.Wait(lasting(w.T), id)
	if err != nil {
		w.Fatalf("%v (%s %s %s)", err, run.Status, run.Reason, run.Message)
	}
	return run
}

// until waits until a run is as wanted.
func (w *world) until(id string, what string, wanted func(exec.Run) bool) exec.Run {
	w.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		run, err := w.r.GetRun(w.Context(), id)
		if err != nil {
			w.Fatal(err)
		}
		if wanted(run) {
			return run
		}
		if time.Now().After(deadline) || run.Status.Ended() {
			w.Fatalf("want %s, the run is %s %q (%s)", what, run.Status, run.Reason, run.Message)
		}
	}
}

func (w *world) pending(id string, reason exec.RunReason) exec.Run {
	w.Helper()
	return w.until(id, "pending "+string(reason), func(r exec.Run) bool { return r.Status == exec.RunPending && r.Reason == reason })
}

func (w *world) logged(id, text string) {
	w.Helper()
	w.until(id, "a log with "+text, func(exec.Run) bool { return strings.Contains(w.log(id), text) })
}

func (w *world) log(id string) string {
	w.Helper()
	var out strings.Builder
	if err := w.r.Logs(w.Context(), id, false, &out, nil); err != nil {
		w.Fatal(err)
	}
	return out.String()
}

func (w *world) ended(run exec.Run, status exec.RunStatus, reason exec.RunReason) {
	w.Helper()
	if run.Status != status || run.Reason != reason {
		w.Errorf("the run is %s %q (%s), want %s %q", run.Status, run.Reason, run.Message, status, reason)
	}
}

func (w *world) admin(input string, args ...string) string {
	w.Helper()
	return admin(w.T, input, args...)
}

// admin is kubectl, as somebody who may do everything; input, if there is any, is its stdin.
func admin(t *testing.T, input string, args ...string) string {
	t.Helper()
	cmd := osexec.Command(filepath.Join(clusterDir, "bin/kubectl"), append([]string{
		"--kubeconfig", filepath.Join(clusterDir, "admin.kubeconfig"), "--cache-dir", filepath.Join(clusterDir, "kubecache"),
	}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// pod is the name of a run's pod.
func (w *world) pod(id string) string {
	return w.admin("", "get", "pods", "-l", "kiln.build/run="+id, "-o", "jsonpath={.items[0].metadata.name}")
}

// restart ends a component of the cluster, which is started again.
func restart(t *testing.T, component string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(clusterDir, "log", component+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

const slow = `i=0; while [ $i -lt 8 ]; do echo line $i; i=$((i+1)); sleep 1; done`

func TestServerRestarts(t *testing.T) {
	w := newWorld(t, "restart", nil)
	run := w.submit(w.spec(slow))
	w.logged(run.ID, "line 1")
	restart(t, "kube-apiserver")
	run = w.wait(run.ID)
	w.ended(run, exec.RunSucceeded, "")
	want := ""
	for i := range 8 {
		want += fmt.Sprintf("line %d\n", i)
	}
	if got := w.log(run.ID); got != want {
		t.Errorf("the log is %q", got)
	}
	// What is submitted while there is no server waits for it.
	restart(t, "kube-apiserver")
	w.ended(w.wait(w.submit(w.spec("echo back")).ID), exec.RunSucceeded, "")
}

func TestEvicted(t *testing.T) {
	w := newWorld(t, "evicted", nil)
	run := w.submit(w.spec(slow))
	w.logged(run.ID, "line 0")
	pod := w.pod(run.ID)
	w.admin(fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":"default"}}`, pod),
		"create", "--raw", "/api/v1/namespaces/default/pods/"+pod+"/eviction", "-f", "-")
	run = w.wait(run.ID)
	w.ended(run, exec.RunFailed, exec.ReasonEvicted)
	if !strings.Contains(w.log(run.ID), "line 0") {
		t.Error("the log of what had run is gone")
	}
}

// TestJobDeleted: somebody else deletes the Job, with and without its pod.
func TestJobDeleted(t *testing.T) {
	w := newWorld(t, "deleted", nil)
	run := w.submit(w.spec(slow))
	w.logged(run.ID, "line 0")
	w.admin("", "delete", "job", "kiln-"+run.ID, "--cascade=foreground", "--wait=false")
	if run = w.wait(run.ID); run.Status != exec.RunCancelled && run.Reason != exec.ReasonLost {
		t.Errorf("%s %q (%s)", run.Status, run.Reason, run.Message)
	}
}

func TestUnschedulable(t *testing.T) {
	w := newWorld(t, "unschedulable", nil)
	j := w.spec("true")
	j.Resources.Requests.CPUs = 1000
	run := w.submit(j)
	run = w.pending(run.ID, exec.ReasonUnschedulable)
	if !strings.Contains(run.Message, "cpu") {
		t.Errorf("it is not said what there is too little of: %s", run.Message)
	}
	run, err := w.r.Cancel(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.ended(run, exec.RunCancelled, "")
}

func TestImageOfOthers(t *testing.T) {
	w := newWorld(t, "image", nil)
	j := w.spec(`echo '$HOME' $$ '$(HOME)'; ls /.kiln`)
	j.Root, j.Image = warehouse.WareID{}, os.Getenv("KILN_TEST_CLUSTER_IMAGE")
	run := w.wait(w.submit(j).ID)
	w.ended(run, exec.RunSucceeded, "")
	if log := w.log(run.ID); !strings.HasPrefix(log, "$HOME ") || !strings.Contains(log, " $(HOME)\nhelper\n") {
		t.Errorf("%q", log)
	}
}

func TestConfined(t *testing.T) {
	w := newWorld(t, "confined", func(o *kubernetes.Options) { o.Confine = true })
	j := w.spec("cat /proc/net/dev; ! echo x >/in/hello")
	j.Inputs = []exec.JobInput{{Port: "/in", Ware: w.Ware, Mode: "ro"}}
	run := w.wait(w.submit(j).ID)
	w.ended(run, exec.RunSucceeded, "")
	if run.Offline != exec.OfflineEnforced || strings.Contains(w.log(run.ID), "eth0") {
		t.Errorf("offline is %s: %s", run.Offline, w.log(run.ID))
	}
}

func TestRegistryRefuses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"errors":[{"code":"DENIED","message":"not yours"}]}`, http.StatusForbidden)
	}))
	defer server.Close()
	w := newWorld(t, "refused", func(o *kubernetes.Options) { o.Images = strings.TrimPrefix(server.URL, "http://") + "/kiln" })
	run, err := w.r.Submit(t.Context(), w.spec("true"))
	if err == nil || !strings.Contains(err.Error(), "log in") {
		t.Errorf("submitted as %s, error: %v", run.ID, err)
	}
	runs, err := w.r.ListRuns(t.Context(), exec.RunFilter{})
	if err != nil || len(runs) != 1 || runs[0].Status != exec.RunFailed {
		t.Errorf("what could not be submitted is recorded as %v, %v", runs, err)
	}
}

// TestForbidden: who may do nothing is told what.
func TestForbidden(t *testing.T) {
	w := newWorld(t, "forbidden", func(o *kubernetes.Options) { o.Kubeconfig = filepath.Join(clusterDir, "nobody.kubeconfig") })
	if err := w.r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), `User "nobody" cannot list resource "jobs"`) {
		t.Errorf("Check: %v", err)
	}
	if _, err := w.r.Submit(t.Context(), w.spec("true")); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("Submit: %v", err)
	}
}

// TestNextProcess: a run whose process died is seen through by the next one, whenever that comes.
func TestNextProcess(t *testing.T) {
	for _, stage := range []string{"made", "runs", "over"} {
		t.Run(stage, func(t *testing.T) {
			w := newWorld(t, "next", nil)
			j := w.spec("echo here; sleep 2; mkdir /out; echo x >/out/x")
			j.Outputs = []exec.JobOutput{{Name: "out", Path: "/out", Packtype: "tree"}}
			first := again(t, w.Environment, nil)
			run, err := first.Submit(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			switch stage {
			case "runs":
				for got := run; got.Status != exec.RunRunning; {
					if got, err = first.GetRun(t.Context(), run.ID); err != nil || got.Status.Ended() {
						t.Fatal(got, err)
					}
				}
			case "over":
				defer w.admin("", "get", "jobs")
			}
			first.Close()
			if stage == "over" {
				w.admin("", "wait", "--for=condition=complete", "job/kiln-"+run.ID, "--timeout=60s")
				if got, err := w.r.GetRun(t.Context(), run.ID); err != nil || got.Status != exec.RunSucceeded {
					t.Fatalf("looked at once: %s %s, %v", got.Status, got.Message, err)
				}
			}
			run = w.wait(run.ID)
			w.ended(run, exec.RunSucceeded, "")
			if log := w.log(run.ID); log != "here\n" {
				t.Errorf("the log is %q", log)
			}
			if left := w.admin("", "get", "jobs", "-l", "kiln.build/run="+run.ID, "-o", "name"); left != "" {
				t.Errorf("%s is left", left)
			}
		})
	}
}

// TestSubmitterKilledEarly: of a submitter that was killed before it could let go of the run,
// nothing is left, whether or not there was a Job yet.
func TestSubmitterKilledEarly(t *testing.T) {
	w := newWorld(t, "early", nil)
	o, err := options(w.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, made := range []bool{false, true} {
		run, hold, err := o.Registry.Create(exec.Run{Runner: kubernetes.Name, Spec: w.spec("true")})
		if err != nil {
			t.Fatal(err)
		}
		name := "job/kiln-" + run.ID
		if made {
			w.admin(fmt.Sprintf(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"kiln-%s","labels":{"kiln.build/run":%q}},
				"spec":{"suspend":true,"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"kiln","image":"none"}]}}}}`, run.ID, run.ID), "create", "-f", "-")
			_, err = o.Registry.Update(run.ID, func(r *exec.Run) {
				r.Handle = fmt.Appendf(nil, `{"namespace":"default","job":"kiln-%s"}`, run.ID)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		// As long as it lives, others leave the run alone: its Job may be on the way.
		if got, err := w.r.GetRun(t.Context(), run.ID); err != nil || got.Status != exec.RunPending {
			t.Errorf("while it is submitted: %s %s, %v", got.Status, got.Message, err)
		}
		hold.Close() // as the kernel does
		got, err := w.r.GetRun(t.Context(), run.ID)
		if err != nil {
			t.Fatal(err)
		}
		w.ended(got, exec.RunFailed, exec.ReasonLost)
		if left := w.admin("", "get", "--ignore-not-found", "-o", "name", name); left != "" {
			t.Errorf("%s is left", left)
		}
	}
}

// TestListed: however many runs go on, listing them takes three calls.
func TestListed(t *testing.T) {
	w := newWorld(t, "listed-queue", nil)
	j := w.spec("true")
	j.Resources.Requests.CPUs = 50 // more than the queue has
	for range 5 {
		w.submit(j)
	}
	locks, err := filepath.Glob(filepath.Join(w.Dir, "runs", "*", "carrier"))
	if err != nil || len(locks) != 5 {
		t.Fatalf("%d are carried, %v", len(locks), err)
	}
	for _, path := range locks {
		os.Remove(path) // as if nobody carried them any more
	}
	next := again(t, w.Environment, nil)
	runs, err := next.ListRuns(t.Context(), exec.RunFilter{})
	if err != nil || len(runs) != 5 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	if n := next.Counts().Calls; n != 3 {
		t.Errorf("%d calls", n)
	}
	for _, run := range runs {
		if run.Status != exec.RunPending || run.Reason != exec.ReasonQueued {
			t.Errorf("%s %s %s", run.Status, run.Reason, run.Message)
		}
	}
}

// TestOtherCluster: a run is not lost because the configuration now leads elsewhere.
func TestOtherCluster(t *testing.T) {
	needCluster(t)
	t.Parallel()
	w := newWorld(t, "other", nil)
	g := newGate(t)
	run := w.submit(w.spec(slow))
	w.r.Close()
	other := again(t, w.Environment, func(o *kubernetes.Options) { o.Kubeconfig = g.kubeconfig })
	if runs, err := other.ListRuns(t.Context(), exec.RunFilter{}); err != nil || len(runs) != 0 {
		t.Errorf("%d runs, %v", len(runs), err)
	}
	if _, err := other.Wait(t.Context(), run.ID); err == nil || !strings.Contains(err.Error(), "set context") {
		t.Errorf("Wait: %v", err)
	}
	w.r = again(t, w.Environment, nil)
	w.ended(w.wait(run.ID), exec.RunSucceeded, "")
}
