package executor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// writeScripts lays out a script: its entries, and a main that sources one after
// the other in one shell and notes which it is at.
func (j *job) writeScripts() error {
	dir := filepath.Join(j.dir, "script")
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
	f, err := os.OpenFile(filepath.Join(j.dir, "script", "at"), unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
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
