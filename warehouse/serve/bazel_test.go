package serve_test

import (
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/warehouse/serve"
)

// TestBazel builds a workspace twice with nothing in common but the server: the second
// time every action is a cache hit, over gRPC and over HTTP, with a token.
func TestBazel(t *testing.T) {
	bazel := testenv.Tool(t, "bazel", "apt-get install bazel-bootstrap")
	addr := start(t, serve.Options{Tokens: tokens(t)})
	for scheme, flags := range map[string][]string{
		"grpc": {"--remote_cache=grpc://" + addr, "--remote_header=Authorization=Bearer " + writer, "--remote_instance_name=team/a"},
		"http": {"--remote_cache=http://bazel:" + writer + "@" + addr},
	} {
		t.Run(scheme, func(t *testing.T) {
			ws := workspace(t)
			for _, want := range []string{`5 processes: 1 internal, 4 (linux-sandbox|processwrapper-sandbox|local)\.`, `5 processes: 4 remote cache hit, 1 internal\.`} {
				out, made := build(t, bazel, ws, flags)
				if !regexp.MustCompile(want).MatchString(out) {
					t.Errorf("want %s in\n%s", want, out)
				}
				if made != "hello 0\nhello 1\nhello 2\n" {
					t.Errorf("it made %.100q", made)
				}
			}
		})
	}
}

// workspace makes a workspace whose actions no other has: three that say hello, a large
// one, and one of them all.
func workspace(t *testing.T) string {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/WORKSPACE", nil, 0o644))
	must(t, os.WriteFile(dir+"/BUILD", []byte(`
[genrule(name = "hello%d" % i, outs = ["hello%d.txt" % i], cmd = "echo hello %d > $@" % i) for i in range(3)]
genrule(name = "all", srcs = ["hello%d" % i for i in range(3)], outs = ["all.txt", "large"],
    cmd = "cat $(SRCS) > $(location all.txt); head -c 9000000 /dev/zero > $(location large)")
`), 0o644))
	return dir
}

// build builds with a server of Bazel's own, which it stops, and returns what that said
// and what it made.
func build(t *testing.T, bazel, dir string, flags []string) (said, made string) {
	t.Helper()
	home := t.TempDir()
	startup := []string{"--nohome_rc", "--output_base=" + home + "/base",
		"--output_user_root=" + home + "/user", "--host_jvm_args=-Xmx300m", "--max_idle_secs=60"}
	run := func(args ...string) string {
		cmd := osexec.Command(bazel, append(startup, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+home, "USE_BAZEL_VERSION=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("bazel %v: %v\n%s", args[0], err, out)
		}
		return string(out)
	}
	defer run("shutdown")
	said = run(append([]string{"build", "//:all", "--color=no", "--curses=no", "--symlink_prefix=" + filepath.Join(home, "out-")}, flags...)...)
	data, err := os.ReadFile(home + "/out-bin/all.txt")
	must(t, err)
	return said, string(data)
}
