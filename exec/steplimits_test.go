package exec

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/exec/container"
)

// needsGroups skips a test where this user has no cgroups for these limits.
func needsGroups(t *testing.T, l container.Limits) {
	t.Helper()
	g, left := container.NewGroup(l)
	defer g.Remove()
	for controller, why := range left {
		t.Skipf("needs cgroups with the controller %s: %v", controller, why)
	}
}

func TestMemoryLimitOfStep(t *testing.T) {
	needsGroups(t, container.Limits{Memory: 1 << 30})
	f := newFixture(t)
	// The step itself goes on and ends well after its child was killed.
	s := f.step("s", "child:eat:200", "write:/out=x")
	s.Resources.Limits.Memory = 64 << 20
	output(s, "out", "/out")
	e := f.fails(FailedMemory)
	if !strings.Contains(e.What(), "ran out of memory") || !strings.Contains(e.What(), "64 MiB") {
		t.Errorf("%s", e.What())
	}
	mine := fmt.Sprintf("kilnjob-%d-", os.Getpid())
	filepath.WalkDir("/sys/fs/cgroup", func(path string, _ os.DirEntry, _ error) error { // others' come and go
		if strings.HasPrefix(filepath.Base(path), mine) {
			t.Errorf("a group is left: %s", path)
		}
		return nil
	})
}

func TestPIDsLimitOfStepIsItsOwn(t *testing.T) {
	needsGroups(t, container.Limits{PIDs: 100})
	f := newFixture(t)
	f.step("bomb", "forkbomb:").Resources.Limits.PIDs = 60
	f.step("other", "child:env:").Resources.Limits.PIDs = 100
	f.options.KeepGoing = true
	e := f.fails(FailedExit)
	if e.Step.Addr != "step.bomb" || !strings.Contains(f.log("bomb"), "resource temporarily unavailable") {
		t.Errorf("%v: %s", e, f.log("bomb"))
	}
}

func TestRequestedMoreThanThereIs(t *testing.T) {
	f := newFixture(t)
	f.step("s").Resources.Requests.CPUs = 1e6
	if e := f.fails(FailedSetup); !strings.Contains(e.What(), "1e+06 cpus are requested and this machine has") {
		t.Errorf("%s", e.What())
	}
}

func TestLimitsThatCannotBeEnforced(t *testing.T) {
	g, left := container.NewGroup(container.Limits{Memory: 1 << 30})
	if g.Remove(); len(left) == 0 {
		t.Skip("this user has cgroups: run it as one who has none")
	}
	f := newFixture(t)
	f.step("s").Resources.Limits.Memory = 1 << 30
	if e := f.fails(FailedSetup); !strings.Contains(e.What(), "--allow unlimited") {
		t.Errorf("%s", e.What())
	}
	f.options.Allow.Unlimited = true
	f.must()
}

func TestBundleHasTheLimits(t *testing.T) {
	f := newFixture(t)
	f.step("s").Resources.Limits = Amounts{CPUs: 1.5, Memory: 64 << 20, PIDs: 50}
	p := f.plan()
	r, err := p.ResolveStep(p.Steps[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "bundle")
	if err := WriteBundle(t.Context(), f.local, r, dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"limit": 67108864`, `"quota": 150000`, `"period": 100000`, `"limit": 50`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("config.json has no %s", want)
		}
	}
}
