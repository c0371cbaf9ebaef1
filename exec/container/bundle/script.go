package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ScriptDir is where a container finds its script, ScriptMain what the interpreter
// is given.
const (
	ScriptDir  = "/.kiln"
	ScriptMain = ScriptDir + "/main"
)

// WriteScript lays a script out in dir, which is made if it is missing and is to be
// seen at ScriptDir: its entries, and a main that sources one after the other in one shell and keeps in "at" the index
// from 0 of the one it is at. It ends with the first that fails, or if it is to go on
// after that, with the last.
func WriteScript(dir string, entries []string, goOn bool) error {
	return WriteScriptAt(dir, ScriptDir, entries, goOn)
}

// WriteScriptAt is WriteScript for an interpreter that finds dir at the path at.
func WriteScriptAt(dir, at string, entries []string, goOn bool) error {
	if at != ScriptDir {
		at = "'" + strings.ReplaceAll(at, "'", `'\''`) + "'"
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var main strings.Builder
	if !goOn {
		main.WriteString("set -e\n")
	}
	for i, entry := range entries {
		name := "entry-" + strconv.Itoa(i+1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(entry+"\n"), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&main, "echo %d >%s/at\n. %s/%s\n", i, at, at, name)
	}
	if err := os.WriteFile(filepath.Join(dir, "main"), []byte(main.String()), 0o644); err != nil {
		return err
	}
	position := filepath.Join(dir, "at")
	if err := os.WriteFile(position, nil, 0o666); err != nil {
		return err
	}
	return os.Chmod(position, 0o666) // whoever the step runs as
}

// ScriptPosition returns the index of the entry that the script laid out in dir is or
// was at, of n, or -1.
func ScriptPosition(dir string, n int) int {
	f, err := os.OpenFile(filepath.Join(dir, "at"), unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1
	}
	defer f.Close()
	var text [16]byte
	size, _ := f.Read(text[:])
	entry, err := strconv.Atoi(strings.TrimSpace(string(text[:size])))
	if err != nil || entry < 0 || entry >= n {
		return -1
	}
	return entry
}
