package executor

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container/bundle"
)

// mountScripts lays the script out and mounts it in the tree.
func (j *job) mountScripts() error {
	at := j.tree.dir + "/own" // a file system of its own: the step may write to it, not fill the others'
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	size := 1 << 20
	for _, entry := range j.Scripts {
		size += 2*len(entry) + os.Getpagesize()
	}
	if err := unix.Mount("script", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=0755,size=%d", size)); err != nil {
		return fmt.Errorf("mount script: %w", err)
	}
	dir := j.tree.scriptDir()
	if err := bundle.WriteScript(dir, j.Scripts, j.GoOn); err != nil {
		return err
	}
	point, err := j.tree.mountPoint(bundle.ScriptDir, false)
	if err != nil {
		return err
	}
	defer point.Close()
	j.tree.layers = append(j.tree.layers, layer{port: bundle.ScriptDir})
	return bind(dir, point, 0, inputFlags)
}

func (t *tree) scriptDir() string { return t.dir + "/own/script" }

// lastEntry returns the index of the entry the script was at, or -1.
func (j *job) lastEntry() int { return bundle.ScriptPosition(j.tree.scriptDir(), len(j.Scripts)) }
