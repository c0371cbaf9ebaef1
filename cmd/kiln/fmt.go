package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/formula"
)

// formatter is one run of kiln fmt.
type formatter struct {
	*app
	check, diff bool
	changed     int
	diags       hcl.Diagnostics
	files       map[string]*hcl.File
}

func newFmtCmd(a *app) *cobra.Command {
	f := formatter{app: a, files: make(map[string]*hcl.File)}
	cmd := &cobra.Command{
		Use:   "fmt [FILE|DIR|-]…",
		Short: "Put formula files into the one style",
		Long: `fmt rewrites formula files in the one style and prints the names of those that
changed. For a directory it takes the .hcl files in it; without an argument, those
in the current directory; for -, it formats stdin to stdout.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			return f.run(args, cmd.InOrStdin())
		},
	}
	cmd.Flags().BoolVar(&f.check, "check", false, "change nothing; exit 1 if a file would change")
	cmd.Flags().BoolVar(&f.diff, "diff", false, "change nothing; print what would change as a diff")
	return cmd
}

func (f *formatter) run(args []string, stdin io.Reader) error {
	for _, arg := range args {
		if err := f.format(arg, stdin); err != nil {
			return err
		}
	}
	if err := f.diagnose(f.diags, f.files); err != nil {
		return err
	}
	if f.check && f.changed > 0 {
		return told(errors.New("files are not formatted"))
	}
	return nil
}

func (f *formatter) format(arg string, stdin io.Reader) error {
	if arg == "-" {
		src, err := io.ReadAll(stdin)
		if err != nil {
			return fmt.Errorf("read stdin: %w", err)
		}
		return f.formatText("stdin", src, func(text []byte) error {
			_, err := f.stdout.Write(text)
			return err
		})
	}
	files := []string{arg}
	if info, err := os.Stat(arg); err != nil {
		return fmt.Errorf("format: %w", err)
	} else if info.IsDir() {
		if files, err = formulaFiles(arg); err != nil {
			return err
		}
	}
	for _, name := range files {
		if err := f.formatFile(name); err != nil {
			return err
		}
	}
	return nil
}

// formulaFiles returns the .hcl files in dir; lock files are kiln's own.
func formulaFiles(dir string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.hcl"))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var files []string
	for _, name := range all {
		if !strings.HasSuffix(name, ".lock.hcl") {
			files = append(files, name)
		}
	}
	return files, nil
}

func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

func (f *formatter) formatFile(name string) error {
	src, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	return f.formatText(name, src, func(text []byte) error {
		if bytes.Equal(text, src) {
			return nil
		}
		if err := replaceFile(name, text); err != nil {
			return fmt.Errorf("format %s: %w", name, err)
		}
		_, err := fmt.Fprintln(f.stdout, name)
		return err
	})
}

// formatText formats src and hands the result to write, unless only the difference
// was asked for.
func (f *formatter) formatText(name string, src []byte, write func([]byte) error) error {
	text, diags := formula.Format(name, src)
	f.diags = append(f.diags, diags...)
	f.files[name] = &hcl.File{Bytes: src}
	if diags.HasErrors() {
		return nil
	}
	if !f.check && !f.diff {
		return write(text)
	}
	if bytes.Equal(text, src) {
		return nil
	}
	f.changed++
	var err error
	if f.diff {
		_, err = f.stdout.Write(diff.Diff(name, src, name+" formatted", text))
	} else {
		_, err = fmt.Fprintln(f.stdout, name)
	}
	return err
}

// replaceFile writes text aside and renames it over name, so that name is whole at
// all times. A symlink stays one.
func replaceFile(name string, text []byte) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	aside, err := os.CreateTemp(filepath.Dir(name), ".kiln-fmt-*")
	if err != nil {
		return err
	}
	defer os.Remove(aside.Name())
	_, err = aside.Write(text)
	if err := errors.Join(err, aside.Chmod(info.Mode().Perm()), aside.Sync(), aside.Close()); err != nil {
		return err
	}
	return os.Rename(aside.Name(), name)
}
