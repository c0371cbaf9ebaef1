package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

const cgroupfs = "/sys/fs/cgroup"

// cgroups are the cgroups that the kubelet makes its own in, one in each hierarchy: no
// other kubelet's are touched.
type cgroups struct {
	path  string   // below each hierarchy
	roots []string // the hierarchies: one with cgroup v2
}

func makeCgroups() (cgroups, error) {
	g := cgroups{path: fmt.Sprintf("/kiln-cluster-%d", os.Getpid())}
	if _, err := os.Stat(cgroupfs + "/cgroup.controllers"); err == nil {
		g.roots = []string{cgroupfs}
	} else if g.roots, err = filepath.Glob(cgroupfs + "/*"); err != nil {
		return g, err
	}
	for _, root := range g.roots {
		if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
			continue
		}
		if err := os.MkdirAll(root+g.path, 0o755); err != nil {
			return g, err
		}
	}
	return g, nil
}

// remove removes the cgroups, the innermost first, as far as they are empty.
func (g cgroups) remove() {
	for _, root := range g.roots {
		var dirs []string
		filepath.WalkDir(root+g.path, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			os.Remove(dir)
		}
	}
}
