package embedded

import (
	"context"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
)

// TestRunnersID tells what to write in runners.go after a runner has changed.
func TestRunnersID(t *testing.T) {
	l, err := warehouse.OpenLocal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := PutRunners(context.Background(), l); err != nil {
		t.Error(err)
	}
	if err := PutRunners(context.Background(), l); err != nil {
		t.Error(err)
	}
}
