package executor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// scriptDir is where a job finds its script.
const scriptDir = "/.kiln"

// mountScripts lays the script out and mounts it in the tree.
func (j *job) mountScripts() error {
	if err := j.writeScripts(); err != nil {
		return err
	}
	point, err := j.tree.mountPoint(scriptDir, false)
	if err != nil {
		return err
	}
	defer point.Close()
	j.tree.layers = append(j.tree.layers, layer{port: scriptDir})
	return bind(j.tree.dir+"/script", point, 0, inputFlags)
}

// writeScripts writes the entries, and a main that sources one after the other in
// one shell and notes which it is at.
func (j *job) writeScripts() error {
	dir := j.tree.dir + "/script"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	var main strings.Builder
	main.WriteString("set -e\n")
	for i, entry := range j.Scripts {
		name := "entry-" + strconv.Itoa(i+1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(entry+"\n"), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&main, "echo %d >%s/at\n. %s/%s\n", i, scriptDir, scriptDir, name)
	}
	if err := os.WriteFile(filepath.Join(dir, "main"), []byte(main.String()), 0o644); err != nil {
		return err
	}
	at := filepath.Join(dir, "at")
	if err := os.WriteFile(at, nil, 0o666); err != nil {
		return err
	}
	return os.Chmod(at, 0o666) // whoever the step runs as
}

// lastEntry returns the index of the entry the script was at, or -1.
func (j *job) lastEntry() int {
	f, err := os.OpenFile(filepath.Join(j.tree.dir, "script", "at"), unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1
	}
	defer f.Close()
	var text [16]byte
	n, _ := f.Read(text[:])
	entry, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil || entry < 0 || entry >= len(j.Scripts) {
		return -1
	}
	return entry
}
