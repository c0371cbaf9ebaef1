package main

import (
	"sync"
	"testing"
)

// TestCollectorsBesideRuns: kilns run beside collectors that take all they can get, and
// none misses anything.
func TestCollectorsBesideRuns(t *testing.T) {
	f := newFaultsDir(t)
	want := f.run("run")
	done := make(chan struct{})
	var runs, collectors sync.WaitGroup
	for range 2 {
		collectors.Go(func() {
			for {
				cmd, _, stderr := f.command("gc", "--keep-days", "0")
				if err := cmd.Run(); err != nil {
					t.Errorf("kiln gc: %v\n%s", err, stderr)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for range 4 {
		runs.Go(func() {
			for range 4 {
				cmd, stdout, stderr := f.command("run")
				if err := cmd.Run(); err != nil || stdout.String() != want {
					t.Errorf("kiln run: %v: got %s, want %s\n%s", err, stdout, want, stderr)
				}
			}
		})
	}
	runs.Wait()
	close(done)
	collectors.Wait()
	f.run("warehouse", "verify")
	f.run("gc", "--keep-days", "0")
	if left := f.run("ware", "ls"); left != "" {
		t.Errorf("left: %s", left)
	}
	f.clean()
}
