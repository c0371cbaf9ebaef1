package warehouse

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestSweepWork counts what somebody may have lost, not what was empty.
func TestSweepWork(t *testing.T) {
	l := openLocal(t)
	left := filepath.Join(l.Dir(), "stage", "killed", "x")
	must(t, errors.Join(os.MkdirAll(left, 0o755), os.MkdirAll(filepath.Join(l.Dir(), "stage", "ended"), 0o755)))
	if n := l.SweepWork(); n != 1 {
		t.Errorf("%d leftovers", n)
	}
	if entries, err := os.ReadDir(filepath.Join(l.Dir(), "stage")); len(entries) > 0 || err != nil {
		t.Errorf("left: %v, %v", entries, err)
	}
}
