package kubernetes_test

import (
	"bytes"
	"fmt"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Half of the steps take what the other half make.
const scaleFormula = `
ware "base" { builtin = "toolbox" }
step "make" {
  for_each = { for i in range(HALF) : format("%04d", i) => i }
  inputs   = { "/" = ware.base, "$N" = each.key }
  script   = ["echo $N >/out"]
  outputs  = { n = "/out" }
}
step "take" {
  for_each = { for i in range(HALF) : format("%04d", i) => i }
  inputs   = { "/" = ware.base, "/n" = step.make[each.key].n }
  script   = ["rev </n >/out"]
  outputs  = { n = "/out" }
}
`

// TestScale runs formulas of as many steps as KILN_TEST_SCALE says, a list, as kiln run does, and
// tells what a step costs, as a proxy before the API server sees it. docs/runners.md has
// the figures.
func TestScale(t *testing.T) {
	sizes := os.Getenv("KILN_TEST_SCALE")
	if sizes == "" {
		sizes = "10"
	}
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			t.Fatal(err)
		}
		for _, runner := range []string{"kubernetes", "kueue"} {
			t.Run(runner+"/"+size, func(t *testing.T) { scale(t, runner, n) })
		}
	}
}

func scale(t *testing.T, runner string, n int) {
	k := newKiln(t)
	g := newGate(t)
	k.env = append(k.env, "KUBECONFIG="+g.kubeconfig)
	dir := k.dir + "/formula"
	write(t, dir+"/kiln.hcl", strings.ReplaceAll(scaleFormula, "HALF", strconv.Itoa(n/2)))
	k.run("scale", "exec", "--runner", runner, "--", "true") // pushes the image
	calls, sent, received := g.calls.Load(), g.sent.Load(), g.received.Load()
	cmd := osexec.CommandContext(t.Context(), "../../bin/kiln", "run", "--runner", runner, dir)
	cmd.Env = append(k.env, "KILN_DATA_HOME="+k.dir+"/data/scale")
	var told bytes.Buffer
	cmd.Stderr = &told
	began := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, told.String())
	}
	took := time.Since(began)
	per := func(now, before int64) float64 { return float64(now-before) / float64(n) }
	t.Logf("%d steps: %.0f s, %.0f steps per minute; per step %.2f calls, %.1f KiB sent, %.1f KiB received; kiln had %d MiB and took %.1f s of a core",
		n, took.Seconds(), float64(n)/took.Minutes(), per(g.calls.Load(), calls), per(g.sent.Load(), sent)/1024, per(g.received.Load(), received)/1024,
		cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss/1024, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	t.Logf("all calls: %v", g.seen)
	if want := fmt.Sprintf("%d steps ran", n); !strings.Contains(told.String(), want) {
		t.Errorf("it does not say that %s:\n%s", want, told.String())
	}
	if left := admin(t, "", "get", "jobs,configmaps", "-l", "app.kubernetes.io/managed-by=kiln", "-o", "name"); left != "" {
		t.Errorf("%s is left", left)
	}
}
