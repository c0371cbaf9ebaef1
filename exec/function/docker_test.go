package function

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	osexec "os/exec"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/pack/image"
)

// underDocker reports whether this is the run of the tests that TestDocker or TestPodman
// starts, beside an engine.
func underDocker() bool { return os.Getenv("KILN_TEST_UNDER_DOCKER") != "" }

// connect returns the images of the engine that DOCKER_HOST names. It is set by the tests
// outside of this package, which the engines' package needs.
var connect func() (Images, error)

// ConnectForTests sets it.
func ConnectForTests(f func() (Images, error)) { connect = f }

// needsLimits ends a test of limits where the engine keeps none: a rootless one without
// delegated cgroups, which TestLimitsThatEnginesDoNotKeep is about.
func (f *fixture) needsLimits() {
	f.Helper()
	if !underDocker() {
		return
	}
	left := f.images().Unenforced(container.Limits{Memory: 1 << 30, CPUs: 1, PIDs: 100})
	if len(left) > 0 && os.Getenv("KILN_TEST_UNDER_DOCKER") == "podman" {
		f.Skipf("this podman keeps no limits of %q", left)
	}
}

// images returns those of the engine.
func (f *fixture) images() Images {
	f.Helper()
	i, err := connect()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { i.Close() })
	return i
}

// TestDocker runs tests of containers again, in those of a real Docker Engine: make
// test-docker.
func TestDocker(t *testing.T) { beside(t, "docker", testenv.Docker(t)) }

// TestPodman does the same under podman, as whoever we are: make test-podman.
func TestPodman(t *testing.T) { beside(t, "podman", testenv.Podman(t)) }

// beside runs the tests of containers in a process that prefix starts beside an engine.
func beside(t *testing.T, engine string, prefix []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := []string{
		"TestContainer", "TestContainersWorld", "TestBadResponses", "TestGoodResponsesOfOddCommands", "TestOutputIsBounded", "TestTimeoutAndCancelEndEverything",
		"TestMemory", "TestPIDs", "TestWarmCallsShareNothing", "TestReuse", "TestReuseRecyclesByMemory", "TestReuseOnlyOfWhatIsWell", "TestManyAtOnce",
		"TestWaitingForASlotCanBeCancelled", "TestLargeAndExactInput", "TestImage",
	}
	args := append(prefix[1:], self, "-test.v", "-test.run=^("+strings.Join(tests, "|")+")$")
	cmd := osexec.CommandContext(t.Context(), prefix[0], args...)
	cmd.Env = append(os.Environ(), "KILN_TEST_UNDER_DOCKER="+engine, "KILN_TEST_REAL=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		if !strings.Contains(string(out), "--- PASS: "+test+" ") && !strings.Contains(string(out), "--- SKIP: "+test+" ") {
			t.Errorf("%s did not run", test)
		}
	}
}

// docker returns what the engine's own client prints.
func (f *fixture) docker(args ...string) string {
	f.Helper()
	tool := os.Getenv("KILN_TEST_UNDER_DOCKER")
	if tool == "podman" { // its storage is the service's
		args = append([]string{"--url", os.Getenv("DOCKER_HOST")}, args...)
	}
	out, err := osexec.Command(tool, args...).CombinedOutput()
	if err != nil {
		f.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// load gives the daemon an image of the root ware and returns its name.
func (f *fixture) load() string {
	f.Helper()
	ctx := context.Background()
	img, err := image.Make(ctx, f.local, f.TempDir(), image.Spec{
		Layers: []image.Layer{{Ware: f.root, Path: "/"}}, Platform: "linux/amd64", Config: v1.ImageConfig{Entrypoint: []string{"/none"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	archive, err := os.Create(f.TempDir() + "/image.tar")
	if err != nil {
		f.Fatal(err)
	}
	defer archive.Close()
	if err := img.WriteDockerArchive(ctx, archive, "kiln/probe:1"); err != nil {
		f.Fatal(err)
	}
	f.docker("load", "--quiet", "--input", archive.Name())
	return "kiln/probe:1"
}

// TestImage is what only images have.
func TestImage(t *testing.T) {
	if !underDocker() {
		t.Skip("TestDocker runs it")
	}
	f := newFixture(t)
	ctx := context.Background()
	data := t.TempDir() + `/odd, "name"`
	if os.Getenv("KILN_TEST_UNDER_DOCKER") == "podman" { // which makes CSV of mounts, and quotes nothing
		data = t.TempDir() + "/plain"
	}
	if err := errors.Join(os.Mkdir(data, 0o755), os.WriteFile(data+"/greeting", []byte("hello"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, options := range [][]Option{{Dir("/data", data)}, {In(f.box), Mount("/data", f.ware(data))}} {
		got, err := probe[any, map[string]any](f, "world", append(options, CPUs(0.5), BestEffort(), Writable(), User("7:8"))...).Execute(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]any{
			"data": "hello<nil>", "data_write": "read-only file system", "root": "permission denied", "uid": json.Number("7"), "gid": json.Number("8"),
		} {
			if got[name] != want {
				t.Errorf("%s is %v, want %v", name, got[name], want)
			}
		}
	}
	moved := probe[numbers, summary](f, "mean")
	f.docker("tag", f.docker("image", "inspect", "--format", "{{.Id}}", "kiln/probe:1")[:20], "kiln/kept:1")
	f.docker("rmi", "kiln/probe:1")
	if got, err := moved.Execute(ctx, numbers{Values: []float64{3}}); err != nil || got != (summary{3, 1}) {
		t.Errorf("after its tag was removed: %+v, %v", got, err)
	}
	i := f.images()
	kept := Image(i, "kiln/kept:1")
	for want, options := range map[string][]Option{
		"image kiln/probe:1: the engine has no such image, and functions download nothing: docker pull kiln/probe:1": {Image(i, "kiln/probe:1")},
		"image --help: ": {Image(i, "--help")},
		"image kiln/kept:1: create the container: ":         {kept, Dir("/d", "/none")},
		"two wares are to be mounted at /d":                 {kept, Dir("/d", "/a"), Dir("/d/", "/b")},
		"mount /d: the sandbox says in which warehouse the": {kept, Mount("/d", f.root)},
	} {
		if _, err := Container[int, int]([]string{"/probe"}, options...); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	c, err := Container[int, int]([]string{"/nothing"}, kept)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Execute(ctx, 1); err == nil || !strings.HasPrefix(err.Error(), "start the function: ") || !strings.Contains(err.Error(), "/nothing") {
		t.Error(err)
	}
	early, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.pool.engine.launch(early); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before it was made: %v", err)
	}
}
