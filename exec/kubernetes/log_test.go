package kubernetes_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
)

// TestRotatedLog: when the kubelet has thrown a part of a log away, that is told, and nothing
// else is missing or there twice.
func TestRotatedLog(t *testing.T) {
	for _, carried := range []bool{false, true} {
		t.Run(fmt.Sprintf("carried before=%v", carried), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "rotated", nil)
			dir, err := os.MkdirTemp(filepath.Join(clusterDir, "shared"), "rotated-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			// For each line the kubelet's own log has 45 bytes more: that is larger than the cluster lets one become.
			j := w.spec("seq 1000000 2600000; touch /go/printed; until [ -e /go/go ]; do sleep 0.1; done; seq 3000000 3000999")
			j.Mounts = []exec.JobMount{{Port: "/go", Host: dir, Writable: true}}
			first := again(t, w.Environment, nil)
			run, err := first.Submit(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			if carried {
				r := w.r
				w.r = first
				w.logged(run.ID, "1000100\n")
				w.r = r
			}
			first.Close()
			w.rotated(run.ID, dir+"/printed")
			write(t, dir+"/go", "")
			if run, err = w.r.Wait(t.Context(), run.ID); err != nil {
				t.Fatal(err)
			}
			w.ended(run, exec.RunSucceeded, "")
			log, err := os.ReadFile(filepath.Join(run.Dir, registry.StdoutFile))
			kept, last := int64(len(log)), 0
			for line := range strings.Lines(string(log)) {
				if n := 0; len(line) == 8 {
					if _, err := fmt.Sscanf(line, "%d\n", &n); err != nil || n <= last {
						t.Fatalf("%q comes after %d: %v", line, last, err)
					}
					last = n
				}
				if strings.HasPrefix(line, "kiln: ") {
					kept -= int64(len("\n" + line))
				}
			}
			const written = (1600001 + 1000) * 8
			if err != nil || last != 3000999 || kept+run.Unlogged != written {
				t.Errorf("%d bytes are there, the last of them %d, and %d of %d are lost: %v", kept, last, run.Unlogged, written, err)
			}
			if run.Unlogged > 0 && (!strings.Contains(run.Message, "bytes of its log were lost") || !strings.Contains(string(log), "of this log were lost")) {
				t.Errorf("it is not said: %s", run.Message)
			}
			if run.Unlogged == 0 && !carried {
				t.Error("nothing is lost: was it rotated?")
			}
		})
	}
}

// rotated waits until a run has made the file printed, and the kubelet has rotated its log and
// will not again.
func (w *world) rotated(id, printed string) {
	w.Helper()
	const most = 64 << 20 // of the cluster's kubelet
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_, err := os.Stat(printed)
		logs := filepath.Join(clusterDir, "pods", "*kiln-"+id+"-*", "*", "0.log")
		old, _ := filepath.Glob(logs + ".*")
		now, _ := filepath.Glob(logs)
		if err == nil && len(old) > 0 && len(now) > 0 {
			if info, err := os.Stat(now[0]); err == nil && info.Size() < most {
				return
			}
		}
		if time.Now().After(deadline) {
			w.Fatal("the kubelet does not rotate its log")
		}
	}
}
