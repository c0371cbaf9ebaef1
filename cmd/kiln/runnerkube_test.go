package main

import (
	"testing"

	"github.com/kilnbuild/kiln/exec/kubernetes"
	"github.com/kilnbuild/kiln/internal/config"
)

// TestKubeBlocks reads the configuration in examples/cluster as kiln does: the runner kueue has
// what that of kubernetes says, and its own.
func TestKubeBlocks(t *testing.T) {
	c, diags := config.Load("../../examples/cluster/config.hcl")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	o := runnerSetting{name: kubernetes.QueueName, config: c}
	for _, block := range c.Runners {
		if block.Name == kubernetes.Name {
			o.base = block.Body
		} else {
			o.block = block.Body
		}
	}
	b, err := decodeKube(o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.config()
	if err != nil {
		t.Fatal(err)
	}
	if got.Queue != "builds" || got.Images != "localhost:5000/kiln" || got.Memory != 64<<20 || got.CPUs != 0.1 ||
		len(got.Volumes) != 1 || got.Volumes[0] != (kubernetes.Volume{Path: "/srv/kiln", HostPath: "/srv/kiln"}) || got.NoPolicy {
		t.Errorf("%+v", got)
	}
	o = runnerSetting{name: kubernetes.Name, block: o.base, config: c}
	if b, err = decodeKube(o); err != nil || b.Queue != "" || b.CPUs != 0 {
		t.Errorf("kubernetes: %+v, %v", b, err)
	}
}
