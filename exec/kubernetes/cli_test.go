package kubernetes_test

import (
	"bytes"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/warehouse"
)

// kiln is the command, with directories of its own and the configuration of examples/cluster.
type kiln struct {
	*testing.T
	dir string
	env []string
}

func newKiln(t *testing.T) *kiln {
	needCluster(t)
	dir := t.TempDir()
	t.Cleanup(func() { warehouse.RemoveTree(filepath.Join(dir, "data")) })
	text, err := os.ReadFile("../../examples/cluster/config.hcl")
	if err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(clusterDir, "shared")
	config := strings.NewReplacer("/srv/kiln", shared, "localhost:5000", os.Getenv("KILN_TEST_CLUSTER_REGISTRY")).Replace(string(text))
	if err := os.MkdirAll(dir+"/config", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/config/config.hcl", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	k := &kiln{T: t, dir: dir}
	k.env = append(os.Environ(), "KILN_CONFIG_HOME="+dir+"/config", "KILN_CACHE_HOME="+dir+"/cache")
	return k
}

// configure changes the configuration.
func (k *kiln) configure(old, new string) {
	k.Helper()
	path := k.dir + "/config/config.hcl"
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), old) {
		k.Fatalf("%q is not in %s: %v", old, path, err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), old, new)), 0o644); err != nil {
		k.Fatal(err)
	}
}

// run runs kiln with the data directory of a name, and returns its stdout.
func (k *kiln) run(data string, args ...string) string {
	k.Helper()
	out, err := k.try(data, args...)
	if err != nil {
		k.Fatal(err)
	}
	return out
}

// try is run for where a failure is to be looked at: what kiln has told is in the error.
func (k *kiln) try(data string, args ...string) (string, error) {
	cmd := osexec.CommandContext(k.Context(), "../../bin/kiln", args...)
	cmd.Env = append(k.env, "KILN_DATA_HOME="+filepath.Join(k.dir, "data", data))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kiln %v: %w\n%s%s", args, err, out.String(), errs.String())
	}
	return out.String(), nil
}

func TestCommand(t *testing.T) {
	k := newKiln(t)
	if out := k.run("a", "runners"); strings.Contains(out, "kueue not usable") || strings.Contains(out, "\nkubernetes:") || strings.Contains(out, "\nkueue:") {
		t.Errorf("kiln runners: %s", out)
	}
	for _, runner := range []string{"kubernetes", "kueue"} {
		if out := k.run("a", "exec", "--runner", runner, "--", "echo", "hello"); out != "hello\n" {
			t.Errorf("kiln exec --runner %s -- echo hello: %q", runner, out)
		}
	}
	if out := k.run("a", "runs", "ls"); strings.Count(out, "succeeded") != 2 {
		t.Errorf("kiln runs ls: %s", out)
	}
}

const formula = `
ware "base" { builtin = "toolbox" }
step "one" {
  inputs  = { "/" = ware.base }
  script  = ["mkdir -p /out/d", "echo $((6*7)) >/out/d/answer", "ln -s d/answer /out/link", "chmod 700 /out/d"]
  outputs = { tree = "/out" }
}
step "two" {
  for_each = toset(["a", "b", "c"])
  inputs   = { "/" = ware.base, "/one" = step.one.tree, "$KEY" = each.key }
  script   = ["mkdir /out", "cp -r /one/d /out/$KEY", "sort -r /one/d/answer >>/out/$KEY/answer"]
  outputs  = { tree = "/out" }
}
step "all" {
  inputs  = { "/" = ware.base, "/a" = step.two["a"].tree, "/b" = step.two["b"].tree, "/c" = step.two["c"].tree }
  script  = ["cat /?/*/answer >/sum"]
  outputs = { sum = "/sum" }
}
output "one" { value = step.one.tree }
output "sum" { value = step.all.sum }
`

// TestSameWares: one formula gives the same ware ids on every runner, also one that
// compiles C.
func TestSameWares(t *testing.T) {
	for _, tt := range []struct{ name, dir string }{{"toolbox", ""}, {"gcc", "../testdata/same"}} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKiln(t)
			dir := filepath.Join(k.dir, "formula")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if tt.dir == "" {
				if err := os.WriteFile(filepath.Join(dir, "kiln.hcl"), []byte(formula), 0o644); err != nil {
					t.Fatal(err)
				}
			} else {
				testenv.Tool(t, "gcc", "apt-get install gcc")
				if err := os.CopyFS(dir, os.DirFS(tt.dir)); err != nil {
					t.Fatal(err)
				}
			}
			want := k.run("container", "run", dir)
			for _, runner := range []string{"kubernetes", "kueue"} {
				got := k.run(runner, "run", "--runner", runner, dir)
				t.Logf("%s:\n%s", runner, got)
				if got != want {
					t.Errorf("on %s %s, in a container %s", runner, got, want)
				}
			}
		})
	}
}
