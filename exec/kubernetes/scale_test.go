package kubernetes_test

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec"
)

// TestScale runs trivial steps, each number of KILN_TEST_SCALE of them, so many at once as
// kiln run -j 32 would, and says what each has cost. docs/runners.md has the figures.
func TestScale(t *testing.T) {
	sizes := os.Getenv("KILN_TEST_SCALE")
	if sizes == "" {
		sizes = "10"
	}
	for _, name := range []string{"scale", "scale-queue"} {
		for size := range strings.SplitSeq(sizes, ",") {
			n, err := strconv.Atoi(size)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(name+"/"+size, func(t *testing.T) { scale(t, name, n) })
		}
	}
}

func scale(t *testing.T, name string, n int) {
	w := newWorld(t, name, nil)
	spec := w.spec("true")
	w.wait(w.submit(spec).ID) // pushes the image
	before, began := w.r.Counts(), time.Now()
	slots := make(chan struct{}, 32)
	var all sync.WaitGroup
	for range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			run, err := w.r.Submit(t.Context(), spec)
			if err == nil {
				run, err = w.r.Wait(t.Context(), run.ID)
			}
			if err != nil || run.Status != exec.RunSucceeded {
				t.Errorf("%s %s %s: %v", run.Status, run.Reason, run.Message, err)
			}
		})
	}
	all.Wait()
	took, after := time.Since(began), w.r.Counts()
	per := func(a, b int64) float64 { return float64(a-b) / float64(n) }
	t.Logf("%d steps: %.1f s, %.0f steps per minute; per step %.2f calls, %.1f KiB sent, %.1f KiB received",
		n, took.Seconds(), float64(n)/took.Minutes(), per(after.Calls, before.Calls), per(after.Sent, before.Sent)/1024, per(after.Received, before.Received)/1024)
	if left := w.admin("", "get", "jobs,configmaps", "-l", "app.kubernetes.io/managed-by=kiln", "-o", "name"); left != "" {
		t.Errorf("%s is left", left)
	}
}
