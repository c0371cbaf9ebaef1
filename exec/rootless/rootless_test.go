package rootless_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/exectest"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/exec/rootless"
	"github.com/kilnbuild/kiln/exec/supervise"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

func binaries() (container.Binaries, error) {
	executor, err1 := embedded.Executor()
	enter, err2 := embedded.Enter()
	return container.Binaries{Executor: executor, Enter: enter}, errors.Join(err1, err2)
}

func environment(dir string) *rootless.Environment {
	return &rootless.Environment{
		Warehouse: func() (*warehouse.Local, error) { return warehouse.OpenLocal(filepath.Join(dir, "warehouse")) },
		Binaries:  binaries,
	}
}

func connect(dir string) (exec.Runner, error) {
	return rootless.New(registry.Open(filepath.Join(dir, "runs")), environment(dir), []string{"kiln", "supervise"}), nil
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		err := supervise.Main(os.Args[2], func(string) (supervise.Environment, error) {
			return environment(filepath.Dir(filepath.Dir(os.Args[2]))), nil
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	exectest.Main(connect)
	os.Exit(m.Run())
}

func TestContainer(t *testing.T) {
	dir := scratch(t)
	wares, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	if err != nil {
		t.Fatal(err)
	}
	defer wares.Close()
	ctx := context.Background()
	if err := embedded.PutToolbox(ctx, wares); errors.Is(err, embedded.ErrNotBuilt) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	root, _ := embedded.ToolboxID()
	can := exectest.Capabilities{
		Wares: true, Split: true, Offline: exec.OfflineEnforced, Survives: true,
		User: container.HostMapping().MayRunAs(1234, 4321) == nil,
	}
	can.Limits = exectest.Limits()
	input := filepath.Join(dir, "input")
	os.Mkdir(input, 0o755)
	if err := os.WriteFile(filepath.Join(input, "hello"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	rec, err := pack.Ingest(ctx, wares, input, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := exectest.Environment{
		Connect: connect, Dir: dir, Can: can, Base: exec.JobSpec{Root: root}, Ware: rec.ID,
		Missing: warehouse.WareID{Packtype: "tree", Hash: strings.Repeat("0", 64) + "-1"},
	}
	exectest.Run(t, e)
	exectest.RunSupervised(t, e)
}

// scratch is t.TempDir where the supervisors of runs that were killed may still be
// taking their things away when the test ends.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rootless-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var err error
		for range 100 {
			if err = warehouse.RemoveTree(dir); err == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Error(err)
	})
	return dir
}
