package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// compileProbe compiles testdata/probe, once for all tests.
var compileProbe = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	build := osexec.Command("go", "build", "-o", dir+"/probe", "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build probe: %w: %s", err, out)
	}
	return os.ReadFile(dir + "/probe")
})

// A fixture is a sandbox with a root ware that holds the probe, and a log. Under
// TestDocker its probe is in an image of Docker's.
type fixture struct {
	testing.TB
	box   *Sandbox
	local *warehouse.Local
	root  warehouse.WareID
	where []Option // In and Root, or Image

	mu  sync.Mutex
	log []string
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	_, err1 := embedded.Executor()
	_, err2 := embedded.Enter()
	if err := errors.Join(err1, err2); err != nil {
		if os.Getenv("KILN_TEST_REAL") != "" {
			t.Fatal(err)
		}
		t.Skipf("needs real containers: %v", err)
	}
	f := &fixture{TB: t}
	var err error
	if f.local, err = warehouse.OpenLocal(filepath.Join(t.TempDir(), "warehouse")); err != nil {
		t.Fatal(err)
	}
	if f.box, err = Open(f.local); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.box.Close()
		if left, err := os.ReadDir(f.local.WorkDir()); err != nil || len(left) > 0 {
			t.Errorf("work directory holds %v (%v)", left, err)
		}
	})
	program, err := compileProbe()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/probe", program, 0o755); err != nil {
		t.Fatal(err)
	}
	if underDocker() { // which makes a working directory that an image lacks, for root alone
		if err := errors.Join(os.Mkdir(dir+"/tmp", 0o777), os.Chmod(dir+"/tmp", 0o777|os.ModeSticky)); err != nil {
			t.Fatal(err)
		}
	}
	f.root = f.ware(dir)
	f.where = []Option{In(f.box), Root(f.root)}
	if underDocker() {
		f.where = []Option{Image(f.images(), f.load())}
		t.Cleanup(func() {
			if left := f.live(); left != 0 {
				t.Errorf("%d containers are left", left)
			}
		})
	}
	return f
}

func (f *fixture) ware(dir string) warehouse.WareID {
	f.Helper()
	rec, err := pack.Ingest(context.Background(), f.local, dir, pack.Options{})
	if err != nil {
		f.Fatal(err)
	}
	return rec.ID
}

// patient is how long a call may take that is not to be cut short.
const patient = 5 * time.Minute

// probe returns an executor around the probe in one of its kinds.
func probe[A, B any](f *fixture, kind string, options ...Option) *ContainerFunc[A, B] {
	f.Helper()
	c, err := Container[A, B]([]string{"/probe", kind}, append(append(f.where[:len(f.where):len(f.where)], Logs(f.logged), Timeout(patient)), options...)...)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	return c
}

func (f *fixture) logged(line []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, string(line))
}

func (f *fixture) logs() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.log, "\n")
}

// oneID reports whether only one user exists in containers.
func oneID() bool { return container.HostMapping().Count() == 1 }

func jsonNumber(text string) any { return json.Number(text) }

// fmtNumber writes a number that came back the shortest way: 3.0 is 3.
func fmtNumber(v any) string {
	n, _ := v.(json.Number)
	f, err := n.Float64()
	if err != nil {
		return fmt.Sprint(v)
	}
	return fmt.Sprint(f)
}

func equalJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
