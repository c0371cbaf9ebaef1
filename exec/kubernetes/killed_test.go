package kubernetes_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/warehouse"
)

// A dag is a formula of three steps, of which the last takes what two others make, in a
// queue of its own that has room for one at a time. Each step says in a file that it runs,
// and then waits for the file "go".
type dag struct {
	*kiln
	dir   string // the formula's
	tally string // the directory of those files, which pods see
	queue string
}

const dagFormula = `
ware "base" { builtin = "toolbox" }
step "first" {
  for_each = toset(["a", "b"])
  inputs   = { "/" = ware.base, "$KEY" = each.key }
  script   = ["echo x >>TALLY/first.$KEY", "until [ -e TALLY/go ]; do sleep 0.1; done", "echo $KEY >/out"]
  outputs  = { letter = "/out" }
}
step "last" {
  inputs  = { "/" = ware.base, "/a" = step.first["a"].letter, "/b" = step.first["b"].letter }
  script  = ["echo x >>TALLY/last", "cat /a /b >/out"]
  outputs = { word = "/out" }
}
output "word" { value = step.last.word }
`

// dagWord is the ware that the formula makes: a file, with the lines "a" and "b".
const dagWord = "word = tree:e57b293bab87023122bab900cf5862af2ca3b925bfba5116058a2d0f672f8dc2-106\n"

const dagQueue = `
apiVersion: kueue.x-k8s.io/v1beta1
kind: ClusterQueue
metadata: {name: QUEUE}
spec:
  namespaceSelector: {}
  resourceGroups:
  - coveredResources: [cpu, memory]
    flavors: [{name: default, resources: [{name: cpu, nominalQuota: 150m}, {name: memory, nominalQuota: 1Gi}]}]
---
apiVersion: kueue.x-k8s.io/v1beta1
kind: LocalQueue
metadata: {name: QUEUE, namespace: default}
spec: {clusterQueue: QUEUE}
`

func newDag(t *testing.T, queue string) *dag {
	k := newKiln(t)
	d := &dag{kiln: k, dir: filepath.Join(k.dir, "formula"), queue: queue}
	var err error
	if d.tally, err = os.MkdirTemp(filepath.Join(clusterDir, "shared"), "tally-"); err == nil {
		err = os.Chmod(d.tally, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { warehouse.RemoveTree(d.tally) })
	write(d.T, d.dir+"/kiln.hcl", strings.ReplaceAll(dagFormula, "TALLY", d.tally))
	d.configure(`queue  = "builds"`, fmt.Sprintf("queue  = %q", queue))
	admin(d.T, strings.ReplaceAll(dagQueue, "QUEUE", queue), "apply", "-f", "-")
	return d
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// open lets steps go on that have said that they run.
func (d *dag) open() { write(d.T, d.tally+"/go", "") }

// ran is how often each step was begun.
func (d *dag) ran() map[string]int {
	d.Helper()
	ran := map[string]int{}
	for _, step := range []string{"first.a", "first.b", "last"} {
		text, err := os.ReadFile(filepath.Join(d.tally, step))
		if err == nil {
			ran[step] = bytes.Count(text, []byte("\n"))
		} else if !errors.Is(err, fs.ErrNotExist) {
			d.Fatal(err)
		}
	}
	return ran
}

// runs are the records of the formula's runs, as they are on disk, and which of them
// have not been handed over to the cluster, by the step.
func (d *dag) runs() (all []exec.Run, held map[string]bool) {
	d.Helper()
	dirs, err := filepath.Glob(d.data() + "/runs/*/run.json")
	if err != nil {
		d.Fatal(err)
	}
	held = map[string]bool{}
	for _, path := range dirs {
		text, err := os.ReadFile(path)
		var run exec.Run
		if err == nil {
			err = json.Unmarshal(text, &run)
		}
		if err != nil {
			d.Fatal(err)
		}
		all = append(all, run)
		if _, err := os.Stat(filepath.Dir(path) + "/owner"); err == nil {
			held[stepFile(run)] = true
		}
	}
	return all, held
}

// stepFile is the name of the file in which a run's step says that it runs.
func stepFile(run exec.Run) string {
	return strings.NewReplacer("step.", "", `["`, ".", `"]`, "").Replace(run.Name)
}

func (d *dag) data() string { return filepath.Join(d.kiln.dir, "data", "dag") }

// nothingLeft requires that the cluster has nothing of the formula's runs any more.
func (d *dag) nothingLeft() {
	d.Helper()
	runs, _ := d.runs()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		all := strings.Fields(admin(d.T, "", "get", "jobs,pods,configmaps,workloads", "-o", "name"))
		left := slices.DeleteFunc(all, func(name string) bool {
			return !slices.ContainsFunc(runs, func(r exec.Run) bool { return strings.Contains(name, r.ID) })
		})
		if len(left) == 0 {
			return
		}
		// What has been deleted ends by itself; a Job that has not been does not.
		if time.Now().After(deadline) {
			d.Fatalf("%v is left", left)
		}
	}
}

// TestKilled: kiln is killed while it runs a formula, at moments that requests of its mark,
// and the same command carries on: no step that was handed over to the cluster runs twice.
func TestKilled(t *testing.T) {
	needCluster(t)
	t.Parallel()
	for i, tt := range []struct {
		moment string
		when   call
		open   bool // steps need not wait for the kill
	}{
		{"before the first Job is made", call{"POST jobs", 1, false}, false},
		{"before it is told that a Job is made", call{"POST jobs", 1, true}, false},
		{"when one runs and one waits in the queue", call{"GET log", 1, true}, false},
		{"before it deletes the Job of a step that has ended", call{"DELETE jobs", 1, false}, true},
		{"before it is told that it is deleted", call{"DELETE jobs", 1, true}, true},
		{"before the last Job is made", call{"POST jobs", 3, false}, true},
		{"before the last Job is deleted", call{"DELETE jobs", 3, false}, true},
	} {
		t.Run(tt.moment, func(t *testing.T) {
			t.Parallel()
			d := newDag(t, fmt.Sprintf("killed-%d", i))
			d.killed(tt.when, tt.open)
		})
	}
}

func (d *dag) killed(when call, open bool) {
	g := newGate(d.T)
	d.env = append(d.env, "KUBECONFIG="+g.kubeconfig)
	if open {
		d.open()
	}
	cmd := osexec.CommandContext(d.Context(), "../../bin/kiln", "run", "--runner", "kueue", d.dir)
	cmd.Env = append(d.env, "KILN_DATA_HOME="+d.data())
	var told bytes.Buffer
	cmd.Stderr = &told
	dead := make(chan struct{})
	var kill sync.Once
	g.tells(func(c call) {
		if c != when {
			return
		}
		kill.Do(func() { cmd.Process.Kill() })
		<-dead // what is on its way does not arrive
	})
	if err := cmd.Start(); err != nil {
		d.Fatal(err)
	}
	err := cmd.Wait()
	g.tells(nil)
	close(dead)
	if cmd.ProcessState.ExitCode() != -1 {
		d.Fatalf("it was not killed: %v\n%s", err, told.String())
	}
	runs, held := d.runs()
	d.Logf("%d runs, %d not handed over yet; begun: %v", len(runs), len(held), d.ran())
	d.open()
	if got := d.run("dag", "run", "--runner", "kueue", d.dir); got != dagWord {
		d.Errorf("it made %q, want %q", got, dagWord)
	}
	for step, n := range d.ran() {
		// What nobody knew to be in the cluster is deleted there before it is done anew.
		if n != 1 && !held[step] {
			d.Errorf("%s ran %d times", step, n)
		}
	}
	d.nothingLeft()
}

// TestServerRestartsMidway: the API server goes away while a formula's steps run and wait, and
// again when the first has ended.
func TestServerRestartsMidway(t *testing.T) {
	d := newDag(t, "restarted")
	var got string
	ended := make(chan error, 1)
	go func() {
		var err error
		got, err = d.try("dag", "run", "--runner", "kueue", d.dir)
		ended <- err
	}()
	begun := func(steps int) {
		t.Helper()
		for len(d.ran()) < steps {
			select {
			case err := <-ended:
				t.Fatalf("it has ended and begun %v, want %d steps: %v", d.ran(), steps, err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	begun(1)
	restart(t, "kube-apiserver")
	d.open()
	begun(2)
	restart(t, "kube-apiserver")
	if err := <-ended; err != nil || got != dagWord {
		t.Errorf("it made %q, want %q: %v", got, dagWord, err)
	}
	for step, n := range d.ran() {
		if n != 1 {
			t.Errorf("%s ran %d times", step, n)
		}
	}
	d.nothingLeft()
}
