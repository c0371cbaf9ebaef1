package main

import (
	"github.com/hashicorp/hcl/v2/gohcl"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/docker"
)

// dockerBlock is runner "docker" of config.hcl.
type dockerBlock struct {
	Host    string `hcl:"host,optional"`
	Context string `hcl:"context,optional"`
	Helper  string `hcl:"helper,optional"`
	Apart   bool   `hcl:"apart,optional"`
}

// openDocker opens the runner of an engine.
func openDocker(o runnerSetting) (exec.Runner, error) {
	var b dockerBlock
	if o.block != nil {
		if diags := gohcl.DecodeBody(o.block, nil, &b); diags.HasErrors() {
			return nil, diags
		}
	}
	local, err := openWares()
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir("layer")
	if err != nil {
		return nil, err
	}
	state, err := dataDir("docker")
	if err != nil {
		return nil, err
	}
	return docker.New(docker.Config{
		Runs: o.registry, Warehouse: local, CacheDir: cache, StateDir: state, Host: b.Host, Context: b.Context, Helper: b.Helper, Apart: b.Apart,
	}), nil
}
