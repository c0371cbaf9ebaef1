package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/formula/warpforge"
)

// below returns the directory of an argument DIR/..., which means every formula in DIR
// and below; false for any other argument.
func below(path string) (dir string, ok bool) {
	if path == "..." {
		return ".", true
	}
	dir, ok = strings.CutSuffix(path, "/...")
	if ok && dir == "" {
		dir = "/"
	}
	return dir, ok
}

// formulasBelow returns the directories in dir and below that hold a formula or a
// document of warpforge's, sorted. Hidden directories are passed over, and so are
// those below a kiln.hcl, which may be its modules.
func formulasBelow(dir string) (dirs []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if path != dir && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if _, err := os.Lstat(filepath.Join(path, formula.FileName)); err == nil {
			dirs = append(dirs, path)
			return filepath.SkipDir
		}
		if _, ok := warpforge.Find(path); ok {
			dirs = append(dirs, path)
		}
		return nil
	})
	if err == nil && len(dirs) == 0 {
		err = fmt.Errorf("%s: no directory in it or below holds a formula", filepath.Join(dir, "..."))
	}
	return dirs, err
}

// each does what a verb does for one formula for each that the argument path means.
// What it prints for one of several begins with its directory. Unless it is to keep
// going, the first failure ends it; either way the first is returned.
func (a *app) each(path string, keepGoing bool, do func(path string) error) error {
	dir, several := below(path)
	if !several {
		return do(path)
	}
	dirs, err := formulasBelow(dir)
	if err != nil {
		return err
	}
	stdout := a.stdout
	defer func() { a.stdout = stdout }()
	var first error
	for _, dir := range dirs {
		a.stdout = &prefixed{w: stdout, prefix: dir + ": "}
		err := do(dir)
		if err == nil {
			continue
		}
		a.printError(err)
		if first == nil {
			first = told(withCode(exitCodeOf(err), err))
		}
		if !keepGoing || exitCodeOf(err) == codeInterrupted {
			return first
		}
	}
	return first
}

// prefixed writes prefix before each line that begins a name, and nothing before a
// document in JSON.
type prefixed struct {
	w      io.Writer
	prefix string
	inside bool // of a line
	isJSON bool
}

func (p *prefixed) Write(b []byte) (int, error) {
	for rest := string(b); rest != ""; {
		line, _, whole := strings.Cut(rest, "\n")
		text := line
		if !p.inside && !p.isJSON {
			p.isJSON = strings.HasPrefix(line, "{")
		}
		if !p.inside && !p.isJSON {
			text = p.prefix + line
		}
		if whole {
			text, line = text+"\n", line+"\n"
		}
		if _, err := io.WriteString(p.w, text); err != nil {
			return 0, err
		}
		p.inside, rest = !whole, rest[len(line):]
	}
	return len(b), nil
}
