package local_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/exectest"
	"github.com/kilnbuild/kiln/exec/local"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/exec/supervise"
)

func connect(dir string) (exec.Runner, error) {
	return local.New(registry.Open(filepath.Join(dir, "runs")), []string{"kiln", "supervise"}), nil
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		err := supervise.Main(os.Args[2], func(string) (supervise.Environment, error) { return local.Environment{}, nil })
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	exectest.Main(connect)
	os.Exit(m.Run())
}

func TestLocal(t *testing.T) {
	can := exectest.Capabilities{
		Split: true, User: os.Geteuid() == 0, Offline: exec.OfflineNone, Survives: true, Signals: true,
	}
	can.Limits = exectest.Limits()
	e := exectest.Environment{Connect: connect, Dir: t.TempDir(), Can: can}
	exectest.Run(t, e)
	exectest.RunSupervised(t, e)
}
