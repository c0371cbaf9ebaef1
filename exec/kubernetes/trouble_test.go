package kubernetes_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes"
	"github.com/kilnbuild/kiln/warehouse"
)

// TestClocksDiffer: the cluster's clock is days behind ours, or ahead. What a record says is
// by ours, and how long a command took is right.
func TestClocksDiffer(t *testing.T) {
	needCluster(t)
	t.Parallel()
	stamp := regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d`)
	for name, days := range map[string]int{"behind": -2, "ahead": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t)
			g.answer = func(line []byte) []byte {
				return stamp.ReplaceAllFunc(line, func(s []byte) []byte {
					at, err := time.Parse("2006-01-02T15:04:05", string(s))
					if err != nil {
						return s
					}
					return at.AddDate(0, 0, days).AppendFormat(nil, "2006-01-02T15:04:05")
				})
			}
			w := newWorld(t, "clock-queue", func(o *kubernetes.Options) { o.Kubeconfig = g.kubeconfig })
			begun := time.Now()
			j := w.spec("sleep 1")
			j.Timeout = 10 * time.Minute // of our clock
			good, bad := w.submit(j), w.spec("true")
			bad.Resources.Requests.CPUs, bad.Timeout = 50, 3*time.Second
			late := w.submit(bad)
			run := w.wait(good.ID)
			w.ended(run, exec.RunSucceeded, "")
			if took := run.Ended.Sub(run.Started); took < time.Second || took > time.Since(begun) {
				t.Errorf("a second took %s", took)
			}
			for _, run := range []exec.Run{run, w.wait(late.ID)} {
				if run.Ended.After(time.Now()) || run.Ended.Before(run.Created) || !run.Started.IsZero() && run.Started.Before(run.Created) {
					t.Errorf("created %s, started %s, ended %s", run.Created, run.Started, run.Ended)
				}
			}
			run = w.wait(late.ID)
			w.ended(run, exec.RunFailed, exec.ReasonTimeout)
		})
	}
}

// TestVolumeFull: the volume that is the warehouse is full. It is said what is, and what was
// half written is no ware.
func TestVolumeFull(t *testing.T) {
	needCluster(t)
	t.Parallel()
	volume := filepath.Join(clusterDir, "shared", "small")
	if err := os.MkdirAll(volume, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", volume, "tmpfs", 0, "size=2m,mode=1777"); err != nil {
		t.Fatalf("mount a small volume: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(volume, syscall.MNT_DETACH) })
	w := newWorld(t, "full", func(o *kubernetes.Options) {
		o.Warehouse, o.Volumes = "file://"+volume, []kubernetes.Volume{{Path: volume, HostPath: volume}}
	})
	j := w.spec("head -c 5000000 /dev/urandom >/big; echo small >/small")
	j.Outputs = []exec.JobOutput{{Name: "big", Path: "/big", Packtype: "tree"}}
	run := w.wait(w.submit(j).ID)
	w.ended(run, exec.RunFailed, exec.ReasonOutput)
	if !strings.Contains(run.Message, "no space left on device") || !strings.Contains(run.Message, volume) {
		t.Errorf("it is not said what is full: %s", run.Message)
	}
	w.wares(volume, 0)
	// What is small still has room: nothing of the big one has stayed.
	j.Outputs[0].Path = "/small"
	run = w.wait(w.submit(j).ID)
	w.ended(run, exec.RunSucceeded, "")
	w.wares(volume, 1)
	// An input that has no room there is not submitted.
	if err := os.WriteFile(volume+"/filler", make([]byte, 3<<20), 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("more than there is room for: %v", err)
	}
	j = w.spec("cat /in/hello")
	j.Inputs = []exec.JobInput{{Port: "/in", Ware: w.Ware, Mode: "ro"}}
	if _, err := w.r.Submit(t.Context(), j); err == nil || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), volume) {
		t.Errorf("an input was brought to a full volume: %v", err)
	}
	if err := os.Remove(volume + "/filler"); err != nil {
		t.Fatal(err)
	}
	run = w.wait(w.submit(j).ID)
	w.ended(run, exec.RunSucceeded, "")
}

// wares requires that a warehouse has so many wares, and nothing else.
func (w *world) wares(dir string, want int) {
	w.Helper()
	found := []string{}
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found = append(found, path)
		}
		return nil
	})
	if len(found) != want {
		w.Errorf("there are %q, want %d wares", found, want)
	}
}

// TestNodeDrained: a node that pods have to leave at once.
func TestNodeDrained(t *testing.T) {
	for _, name := range []string{"drained", "drained-queue"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, name, nil)
			run := w.submit(w.spec(slow))
			w.logged(run.ID, "line 0")
			w.admin("", "taint", "nodes", "--all", "gone=yes:NoExecute")
			taken := false
			untaint := func() {
				if !taken {
					taken = true
					w.admin("", "taint", "nodes", "--all", "gone=yes:NoExecute-")
				}
			}
			t.Cleanup(untaint)
			run = w.wait(run.ID)
			w.ended(run, exec.RunFailed, exec.ReasonEvicted)
			if !strings.Contains(run.Message, "taint") {
				t.Errorf("it is not said why: %s", run.Message)
			}
			// What comes meanwhile waits, and says for what.
			next := w.submit(w.spec("echo back"))
			if run := w.pending(next.ID, exec.ReasonUnschedulable); !strings.Contains(run.Message, "taint") {
				t.Errorf("it is not said why: %s", run.Message)
			}
			untaint()
			w.ended(w.wait(next.ID), exec.RunSucceeded, "")
		})
	}
}

// TestNodeDeleted: the node of a run is taken out of the cluster while it runs, and comes back.
func TestNodeDeleted(t *testing.T) {
	w := newWorld(t, "node-deleted", nil)
	run := w.submit(w.spec("echo here; while :; do sleep 1; done"))
	w.logged(run.ID, "here")
	w.admin("", "delete", w.admin("", "get", "nodes", "-o", "name"))
	back := func() { // a kubelet enters its node when it starts
		if w.admin("", "get", "nodes", "-o", "name") == "" {
			restart(t, "kubelet")
		}
	}
	t.Cleanup(back)
	run = w.wait(run.ID)
	w.ended(run, exec.RunFailed, exec.ReasonEvicted)
	if !strings.Contains(run.Message, "node") || !strings.Contains(w.log(run.ID), "here") {
		t.Errorf("%s; its log is %q", run.Message, w.log(run.ID))
	}
	back()
	next := w.submit(w.spec("echo back"))
	w.ended(w.wait(next.ID), exec.RunSucceeded, "")
	w.gone(run.ID)
}

// TestStorageUsedUp: the kubelet evicts a pod that takes more of the node's disk than it may.
func TestStorageUsedUp(t *testing.T) {
	w := newWorld(t, "storage", nil)
	const limit = `{apiVersion: v1, kind: LimitRange, metadata: {name: storage, namespace: default},
spec: {limits: [{type: Container, default: {ephemeral-storage: 16Mi}, defaultRequest: {ephemeral-storage: 1Mi}}]}}`
	w.admin(limit, "apply", "-f", "-")
	t.Cleanup(func() { admin(t, "", "delete", "limitrange", "storage") })
	run := w.submit(w.spec("echo here; head -c 64000000 /dev/zero >/tmp/large; while :; do sleep 1; done"))
	run = w.wait(run.ID)
	w.ended(run, exec.RunFailed, exec.ReasonEvicted)
	if !strings.Contains(run.Message, "ephemeral") {
		t.Errorf("it is not said why: %s", run.Message)
	}
	w.gone(run.ID)
}

// gone fails the test if the cluster has anything of a run that has ended.
func (w *world) gone(id string) {
	w.Helper()
	for _, kind := range []string{"jobs", "pods", "configmaps"} {
		if left := w.admin("", "get", kind, "-l", "kiln.build/run="+id, "-o", "name"); left != "" {
			w.Errorf("left: %s", left)
		}
	}
}

// TestPullRefused: the node may not have the image.
func TestPullRefused(t *testing.T) {
	needCluster(t)
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"errors":[{"code":"DENIED","message":"not yours"}]}`, http.StatusForbidden)
	}))
	defer server.Close()
	w := newWorld(t, "pull", nil)
	j := w.spec("true")
	j.Root, j.Image = warehouse.WareID{}, strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "localhost", 1)+"/some/image:1"
	run := w.submit(j)
	run = w.pending(run.ID, exec.ReasonImageMissing)
	if !strings.Contains(run.Message, "some/image:1") || !strings.Contains(run.Message, "403") {
		t.Errorf("it is not said who refuses what: %s", run.Message)
	}
	run, err := w.r.Cancel(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.ended(run, exec.RunCancelled, "")
}
