package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
		fmt.Fprintf(&main, "echo %d >%s/at\n. %s/%s\n", i, ScriptDir, ScriptDir, name)
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
