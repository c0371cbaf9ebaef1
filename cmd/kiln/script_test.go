package main

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kiln": main})
}

// TestScript runs testdata/script/VERB_TOPIC.txtar. Each script has a work
// directory of its own, no HOME, and kiln's directories below $WORK/kiln. What lies
// in $WORK/www is served at $HTTP.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Condition: func(cond string) (bool, error) {
			if cond == "built" { // made by make build, so that steps can run
				_, err := binaries()
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Setup: func(env *testscript.Env) error {
			for name, dir := range map[string]string{
				"KILN_DATA_HOME": "data", "KILN_CACHE_HOME": "cache", "KILN_CONFIG_HOME": "config",
			} {
				env.Setenv(name, env.WorkDir+"/kiln/"+dir)
			}
			env.Setenv("HOME", "")
			examples, err := filepath.Abs("../../examples")
			if err != nil {
				return err
			}
			env.Setenv("EXAMPLES", examples)
			env.Setenv("TMPDIR", env.WorkDir+"/.tmp")
			www := httptest.NewServer(http.FileServer(http.Dir(env.WorkDir + "/www")))
			env.Defer(www.Close)
			env.Setenv("HTTP", www.URL)
			return os.MkdirAll(env.WorkDir+"/.tmp", 0o700)
		},
	})
}
