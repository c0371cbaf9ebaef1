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

	"github.com/kilnbuild/kiln/pack/image"
)

// underDocker reports whether this is the run of the tests that TestDocker starts.
func underDocker() bool { return os.Getenv("KILN_TEST_UNDER_DOCKER") != "" }

// TestDocker runs tests of containers again, in those of a real Docker Engine. Where
// KILN_TEST_DOCKER is set, it does not skip: make test-docker.
func TestDocker(t *testing.T) {
	skip := t.Skipf
	if os.Getenv("KILN_TEST_DOCKER") != "" {
		skip = t.Fatalf
	}
	if os.Geteuid() != 0 {
		skip("starting dockerd needs root")
	}
	for _, tool := range []string{"dockerd", "docker", "unshare"} {
		if _, err := osexec.LookPath(tool); err != nil {
			skip("%s is not installed", tool)
		}
	}
	if os.Getenv("KILN_TEST_DOCKER") == "" {
		t.Skip("KILN_TEST_DOCKER is not set: run make test-docker")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := []string{
		"TestContainer", "TestContainersWorld", "TestBadResponses", "TestGoodResponsesOfOddCommands", "TestOutputIsBounded", "TestTimeoutAndCancelEndEverything",
		"TestMemory", "TestPIDs", "TestWarmCallsShareNothing", "TestReuse", "TestReuseRecyclesByMemory", "TestReuseOnlyOfWhatIsWell", "TestManyAtOnce",
		"TestWaitingForASlotCanBeCancelled", "TestLargeAndExactInput", "TestImage",
	}
	cmd := osexec.CommandContext(t.Context(), "../../examples/image/testdata/dockerd.sh", t.TempDir()+"/dockerd.log",
		self, "-test.v", "-test.run=^("+strings.Join(tests, "|")+")$")
	cmd.Env = append(os.Environ(), "KILN_TEST_UNDER_DOCKER=1", "KILN_TEST_REAL=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		if !strings.Contains(string(out), "--- PASS: "+test+" ") {
			t.Errorf("%s did not run", test)
		}
	}
}

// docker returns what the client prints.
func (f *fixture) docker(args ...string) string {
	f.Helper()
	out, err := osexec.Command("docker", args...).CombinedOutput()
	if err != nil {
		f.Fatalf("docker %q: %v\n%s", args, err, out)
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
	if err := errors.Join(os.Mkdir(data, 0o755), os.WriteFile(data+"/greeting", []byte("hello"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, options := range [][]Option{{Dir("/data", data)}, {In(f.box), Mount("/data", f.ware(data))}} {
		got, err := probe[any, map[string]any](f, "world", append(options, CPUs(0.5), Writable(), User("7:8"))...).Execute(ctx, nil)
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
	for want, options := range map[string][]Option{
		"image kiln/probe:1: the daemon has no such image, and functions download nothing: docker pull kiln/probe:1": {Image("kiln/probe:1")},
		"image --help: ": {Image("--help")},
		"image kiln/kept:1: docker create: invalid mount config for type \"bind\": bind source path does not exist: /none": {Image("kiln/kept:1"), Dir("/d", "/none")},
		"image kiln/kept:1: docker create: Minimum memory limit allowed is 6MB":                                            {Image("kiln/kept:1"), Memory(1000)},
		"two wares are to be mounted at /d":                 {Image("kiln/kept:1"), Dir("/d", "/a"), Dir("/d/", "/b")},
		"mount /d: the sandbox says in which warehouse the": {Image("kiln/kept:1"), Mount("/d", f.root)},
	} {
		if _, err := Container[int, int]([]string{"/probe"}, options...); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	c, err := Container[int, int]([]string{"/nothing"}, Image("kiln/kept:1"))
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

func TestImageWithoutDaemon(t *testing.T) {
	if _, err := osexec.LookPath("docker"); err == nil {
		t.Setenv("DOCKER_HOST", "unix:///nothing/docker.sock")
		_, err := Container[int, int]([]string{"/probe"}, Image("python:3"))
		if err == nil || !strings.HasPrefix(err.Error(), "image python:3: docker image: ") || !strings.Contains(err.Error(), "/nothing/docker.sock") {
			t.Error(err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Container[int, int]([]string{"/probe"}, Image("python:3")); !errors.Is(err, osexec.ErrNotFound) {
		t.Error(err)
	}
}
