package exec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
)

// hosts are the paths of this machine that the steps of a run may see: the executor
// takes them along, and jobs mount them by number.
type hosts struct {
	paths   []string
	network bool // a step uses the network
}

// networkFiles are what a step that uses the network finds of this machine, where
// they are: without them names could not be looked up.
var networkFiles = []string{"/etc/resolv.conf", "/etc/hosts"}

// certificates are of this machine where the root ware has none.
const certificates = "/etc/ssl/certs"

// hostsOf collects what steps ask for and may have.
func hostsOf(steps []*plan.Step, allow Allowed) *hosts {
	h := &hosts{}
	add := func(path string) {
		if _, err := os.Stat(path); err == nil && !slices.Contains(h.paths, path) {
			h.paths = append(h.paths, path)
		}
	}
	for _, s := range steps {
		for _, in := range s.Inputs {
			if in.Host != "" && allow.Mount {
				add(in.Host)
			}
		}
		h.network = h.network || s.Network && allow.Network
	}
	if h.network {
		for _, path := range append(networkFiles, certificates) {
			add(path)
		}
	}
	return h
}

// mount is the mount of a path of this machine. What is not there, or was not when the
// run began, is an error.
func (h *hosts) mount(port, path string, mode formula.Mode) (wire.Mount, error) {
	info, err := os.Stat(path)
	i := slices.Index(h.paths, path)
	if err == nil && i < 0 {
		err = fmt.Errorf("mount %s: it was not there when the run began", path)
	}
	if err != nil {
		return wire.Mount{}, err
	}
	return wire.Mount{
		Port: port, Host: i + 1, File: !info.IsDir(),
		Overlay: mode == formula.Overlay, Through: mode == formula.ReadWrite,
	}, nil
}

// addNetwork returns mounts with what a step finds besides its inputs when it uses the
// network. root is the fileset of its root ware, or "".
func (h *hosts) addNetwork(mounts []wire.Mount, inputs []formula.Input, root string) []wire.Mount {
	files := slices.Clone(networkFiles)
	if _, err := os.Lstat(filepath.Join(root, certificates)); root == "" || err != nil {
		files = append(files, certificates)
	}
	for _, path := range files {
		near := func(in formula.Input) bool {
			return in.Port == path || strings.HasPrefix(path, in.Port+"/") || strings.HasPrefix(in.Port, path+"/")
		}
		if m, err := h.mount(path, path, formula.ReadOnly); err == nil && !slices.ContainsFunc(inputs, near) {
			mounts = append(mounts, m)
		}
	}
	return mounts
}

// refused says why a step that asks for more than its inputs may not have it, or nil.
func refused(s *plan.Step, allow Allowed) error {
	for _, in := range s.Inputs {
		if in.Host != "" && !allow.Mount {
			return fmt.Errorf("input %s mounts %s of this machine, which was not allowed", in.Port, in.Host)
		}
	}
	if s.Network && !allow.Network {
		return fmt.Errorf("it uses the network, which was not allowed")
	}
	return nil
}
