package executor

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Kilns begin all the time while others sweep: a sweep may be first to lock a directory
// that has just been made, and must neither fail the run nor take its directory.
func TestSweepLeavesRunsThatBegin(t *testing.T) {
	work := t.TempDir()
	done := make(chan struct{})
	var sweeps, runs sync.WaitGroup
	for range 3 {
		sweeps.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					sweep(work)
				}
			}
		})
	}
	for kiln := range 4 {
		runs.Go(func() {
			for i := range 500 {
				dir := filepath.Join(work, fmt.Sprintf("%s%d-%d", runPrefix, kiln, i))
				lock, err := enterRun(dir)
				if err != nil {
					t.Errorf("enter run: %v", err)
					return
				}
				if err := os.Mkdir(filepath.Join(dir, "upper"), 0o700); err != nil {
					t.Errorf("its directory was taken away: %v", err)
				}
				if i%2 == 0 {
					removeRun(dir)
				}
				lock.Close() // an odd one is left behind, as by a kiln that was killed
			}
		})
	}
	runs.Wait()
	close(done)
	sweeps.Wait()
	sweep(work)
	if left, _ := os.ReadDir(work); len(left) > 0 {
		t.Errorf("%d directories of runs that have ended are still there", len(left))
	}
}
