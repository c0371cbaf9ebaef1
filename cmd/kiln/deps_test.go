package main

import (
	osexec "os/exec"
	"strings"
	"testing"
)

// TestDependencies holds the direction of imports, for a reason each.
func TestDependencies(t *testing.T) {
	const module = "github.com/kilnbuild/kiln/"
	for _, tt := range []struct {
		pkg    string
		bans   []string
		reason string
	}{
		{"warehouse", []string{module + "pack", module + "formula", module + "plan", module + "exec", "github.com/hashicorp/hcl/v2"},
			"it is below everything and knows nothing of formulas"},
		{"pack", []string{module + "formula", module + "plan", module + "exec", "github.com/hashicorp/hcl/v2"},
			"it runs in the executor and knows nothing of formulas"},
		{"formula", []string{module + "plan", module + "exec", module + "pack", "net/http"},
			"it reads nothing but the formula's directory"},
		{"plan", []string{module + "exec", "github.com/opencontainers/runc/libcontainer"},
			"it runs nothing"},
		{"exec", []string{"github.com/moby/moby/client", "k8s.io/client-go/rest", module + "exec/registry"},
			"it knows runners by their interface; clients are below the runner that needs them"},
		{"exec/rootless", []string{"github.com/moby/moby/client", "k8s.io/client-go/rest", "github.com/opencontainers/runc/libcontainer"},
			"each supervisor is a process of its own, and runners share no implementation"},
		{"cmd/kiln", []string{"github.com/opencontainers/runc/libcontainer", "mvdan.cc/sh/v3/interp", "github.com/itchyny/gojq"},
			"kiln starts fast: containers are the executor's, the shell the toolbox's"},
		{"cmd/kiln", []string{"k8s.io/client-go/rest", "k8s.io/apimachinery/pkg/runtime"},
			"kiln starts fast: clusters are cmd/kiln-kube's"},
		{"exec", []string{"github.com/moby/moby/client", "k8s.io/client-go/rest"},
			"each environment's client stays below its runner"},
		{"cmd/kiln-executor", []string{"net/http", module + "formula", module + "plan", "github.com/hashicorp/hcl/v2"},
			"the executor never opens a connection, and every container starts it"},
		{"cmd/kiln-toolbox", []string{"net", "net/http", module + "pack", module + "warehouse"},
			"it is started several times in every step"},
	} {
		out, err := osexec.Command("go", "list", "-deps", module+tt.pkg).Output()
		if err != nil {
			t.Fatalf("go list %s: %v", tt.pkg, err)
		}
		deps := map[string]bool{}
		for dep := range strings.FieldsSeq(string(out)) {
			deps[dep] = true
		}
		for _, ban := range tt.bans {
			if deps[ban] {
				t.Errorf("%s depends on %s, but %s", tt.pkg, ban, tt.reason)
			}
		}
	}
}
