package kubernetes_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/exectest"
	"github.com/kilnbuild/kiln/exec/kubernetes"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/file"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// clusterDir is the directory of the cluster that command cluster has started.
var clusterDir = os.Getenv("KILN_TEST_CLUSTER")

// options are those of a runner over dir, as a new kiln process has them. A dir whose name
// ends in "-queue" is of a runner that goes through Kueue.
func options(dir string) (o kubernetes.Options, err error) {
	o.Registry = registry.Open(filepath.Join(dir, "runs"))
	if o.Local, err = warehouse.OpenLocal(filepath.Join(dir, "warehouse")); err != nil {
		return o, err
	}
	o.CacheDir = filepath.Join(dir, "cache")
	if o.Program, err = embedded.Kube(); err != nil {
		return o, err
	}
	if o.Helper, err = filepath.Abs("../../bin/kiln"); err != nil {
		return o, err
	}
	o.Open = open
	shared := filepath.Join(clusterDir, "shared")
	o.Config = kubernetes.Config{
		Images:    os.Getenv("KILN_TEST_CLUSTER_REGISTRY") + "/kiln",
		Warehouse: "file://" + shared, Volumes: []kubernetes.Volume{{Path: shared, HostPath: shared}},
	}
	if strings.HasSuffix(dir, "-queue") {
		o.Queue, o.CPUs, o.Memory = "builds", 0.1, 32<<20
	}
	return o, nil
}

func open(_ context.Context, url string) (warehouse.Store, error) {
	objects, err := file.Open(strings.TrimPrefix(url, "file://"))
	if err != nil {
		return nil, err
	}
	return packed.New(objects), nil
}

func connect(dir string) (exec.Runner, error) {
	o, err := options(dir)
	if err != nil {
		return nil, err
	}
	return kubernetes.New(o)
}

func TestMain(m *testing.M) {
	exectest.Main(connect)
	os.Exit(m.Run())
}

// needCluster ends a test that has no cluster to run in.
func needCluster(t testing.TB) {
	t.Helper()
	if clusterDir == "" {
		testenv.Missing(t, "kubernetes", "make test-cluster runs the tests beside a cluster of their own")
	}
	if _, err := embedded.Kube(); errors.Is(err, embedded.ErrNotBuilt) {
		testenv.Missing(t, "kubernetes", "run make build")
	}
}

// environment is what the suite runs in, with a name that options knows.
func environment(t *testing.T, name string) exectest.Environment {
	needCluster(t)
	dir := filepath.Join(t.TempDir(), name)
	t.Cleanup(func() { warehouse.RemoveTree(dir) })
	o, err := options(dir)
	if err != nil {
		t.Fatal(err)
	}
	root := toolbox(t, o.Local)
	hello := filepath.Join(t.TempDir(), "hello")
	if err := errors.Join(os.Mkdir(hello, 0o755), os.WriteFile(hello+"/hello", []byte("hello\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	rec, err := pack.Ingest(t.Context(), o.Local, hello, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	missing, err := warehouse.ParseWareID("tree:" + strings.Repeat("0", 64) + "-100")
	if err != nil {
		t.Fatal(err)
	}
	return exectest.Environment{
		Connect: connect, Dir: dir, Base: exec.JobSpec{Root: root, Env: []string{"HOME=/tmp"}}, Ware: rec.ID, Missing: missing,
		Can: exectest.Capabilities{
			Wares: true, Watched: true, User: true, Image: true, Limits: []string{"cpus", "memory"}, Offline: exec.OfflinePolicy,
			Survives: true, Signals: true, Patience: 3 * 60e9,
		},
	}
}

func toolbox(t testing.TB, l *warehouse.Local) warehouse.WareID {
	t.Helper()
	if err := embedded.PutToolbox(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	id, err := embedded.ToolboxID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Both suites mostly wait: side by side they take half the time.

func TestKubernetes(t *testing.T) {
	e := environment(t, "jobs")
	t.Parallel()
	exectest.Run(t, e)
}

func TestKueue(t *testing.T) {
	e := environment(t, "jobs-queue")
	t.Parallel()
	exectest.Run(t, e)
}
