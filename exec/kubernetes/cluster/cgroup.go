package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const cgroupfs = "/sys/fs/cgroup"

// cgroups are the cgroups that the kubelet makes its own in, one in each hierarchy: no
// other kubelet's are touched.
type cgroups struct {
	path  string   // below each hierarchy
	roots []string // the hierarchies: one with cgroup v2
}

func makeCgroups() (cgroups, error) {
	// kiln removes what is empty and begins with kiln-: that may be left of its own.
	g := cgroups{path: fmt.Sprintf("/cluster-of-kiln-%d", os.Getpid())}
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

// remove removes the cgroups. What was in them has been killed, and is on its way out.
func (g cgroups) remove() {
	for range 50 {
		if g.sweep(); !g.there() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (g cgroups) there() bool {
	return slices.ContainsFunc(g.roots, func(root string) bool {
		_, err := os.Stat(root + g.path + "/cgroup.procs")
		return err == nil
	})
}

// sweep removes the cgroups, the innermost first, as far as they are empty.
func (g cgroups) sweep() {
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
