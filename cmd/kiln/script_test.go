package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
	"github.com/kilnbuild/kiln/warehouse/s3/s3test"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kiln": main})
}

// TestScript runs testdata/script/VERB_TOPIC.txtar. Each script has a work
// directory of its own, no HOME, and kiln's directories below $WORK/kiln. What lies
// in $WORK/www is served at $HTTP, what lies in $WORK/www/git by git's own server.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Condition: func(cond string) (bool, error) {
			if cond == "built" { // made by make build, so that steps can run
				_, err := binaries()
				return err == nil, nil
			}
			if cond == "cases" { // what warpforge published of its runs
				return os.Getenv("KILN_WARPFORGE_CASES") != "", nil
			}
			if component, ok := strings.CutPrefix(cond, "component:"); ok { // as package testenv has them
				_, err := osexec.LookPath(component)
				if err != nil && testenv.Required(component) {
					return false, err
				}
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"registry": startRegistry, "bucket": startBucket, "cache": startCache, "serve": startServe,
		},
		Setup: func(env *testscript.Env) error {
			for name, dir := range map[string]string{
				"KILN_DATA_HOME": "data", "KILN_CACHE_HOME": "cache", "KILN_CONFIG_HOME": "config",
			} {
				env.Setenv(name, env.WorkDir+"/kiln/"+dir)
			}
			env.Setenv("HOME", "")
			env.Setenv("GORACE", os.Getenv("GORACE"))
			examples, err := filepath.Abs("../../examples")
			if err != nil {
				return err
			}
			env.Setenv("EXAMPLES", examples)
			env.Setenv("CASES", os.Getenv("KILN_WARPFORGE_CASES"))
			env.Setenv("TMPDIR", env.WorkDir+"/.tmp")
			www := httptest.NewServer(serveFiles(env.WorkDir + "/www"))
			env.Defer(www.Close)
			env.Setenv("HTTP", www.URL)
			return os.MkdirAll(env.WorkDir+"/.tmp", 0o700)
		},
	})
}

func serveFiles(dir string) http.Handler {
	files := http.FileServer(http.Dir(dir))
	path, _ := osexec.Command("git", "--exec-path").Output() // no git: scripts that need it skip
	repos := &cgi.Handler{
		Path: strings.TrimSpace(string(path)) + "/git-http-backend", Root: "/git", Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + dir + "/git", "GIT_HTTP_EXPORT_ALL=1", "GIT_PROTOCOL=version=2", "GIT_CONFIG_GLOBAL=/dev/null"},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/git/") {
			repos.ServeHTTP(w, r)
			return
		}
		files.ServeHTTP(w, r)
	})
}

// startBucket is the command bucket: it starts a server of S3, of which $BUCKET is the URL
// of a place that $S3_ACCESS_KEY may use with $S3_SECRET_KEY.
func startBucket(ts *testscript.TestScript, _ bool, _ []string) {
	s, err := s3test.Run(ts.MkAbs(".bucket"))
	ts.Check(err)
	ts.Defer(s.Kill)
	ts.Setenv("BUCKET", s.URL("team"))
	ts.Setenv("S3_ACCESS_KEY", s3test.AccessKey)
	ts.Setenv("S3_SECRET_KEY", s3test.SecretKey)
}

// startRegistry is the command registry: it starts one, at $REG.
// With the argument auth it asks for $REGUSER, USER:PASSWORD.
func startRegistry(ts *testscript.TestScript, _ bool, args []string) {
	s, err := ocitest.Start(ts.MkAbs(".registry"), slices.Contains(args, "auth"))
	ts.Check(err)
	ts.Defer(s.Kill)
	ts.Setenv("REG", s.Addr)
	ts.Setenv("REGUSER", ocitest.User+":"+ocitest.Password)
}

// startCache is the command cache: it starts kiln serve with these arguments, or another
// server of REAPI that KILN_TEST_REAPI names, at $CACHE, HOST:PORT.
func startCache(ts *testscript.TestScript, _ bool, args []string) {
	if url := os.Getenv("KILN_TEST_REAPI"); url != "" && len(args) == 0 {
		ts.Setenv("CACHE", strings.TrimPrefix(url, "grpc://"))
		return
	}
	cmd := osexec.Command("kiln", append([]string{"serve", "--listen", "127.0.0.1:0", "--no-local"}, args...)...)
	cmd.Env = append(os.Environ(), "KILN_DATA_HOME="+ts.MkAbs(".cache"), "PATH="+ts.Getenv("PATH"))
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	ts.Check(err)
	ts.Setenv("CACHE", strings.TrimSpace(line))
}
