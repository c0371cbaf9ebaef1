package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/kilnbuild/kiln/plan"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// An app is what all verbs share: where to print, and the global flags.
type app struct {
	stdout, stderr io.Writer
	color          colorMode
	tty            *os.File            // stderr's terminal while stderr is a story
	observe        func(plan.Progress) // of a story; nil: tellProgress tells
	atEnd          []func()            // what is to be done when the verb is
}

// colorMode is the value of --color.
type colorMode string

func (m *colorMode) String() string {
	if *m == "" {
		return "auto"
	}
	return string(*m)
}

func (m *colorMode) Set(s string) error { *m = colorMode(s); return m.check() }
func (m *colorMode) Type() string       { return "when" }

func (m *colorMode) check() error {
	switch *m {
	case "", "auto", "always", "never":
		return nil
	}
	return fmt.Errorf("want auto, always or never, not %q", string(*m))
}

// colored reports whether stderr gets colours: as --color says, else if it is a
// terminal and neither NO_COLOR (no-color.org) nor TERM=dumb asks for none.
func (a *app) colored() bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	return a.terminal() != nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// coloredStdout is colored for stdout.
func (a *app) coloredStdout() bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	return a.stdoutTerminal() && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// stdoutTerminal reports whether stdout is a terminal.
func (a *app) stdoutTerminal() bool {
	f, ok := plainWriter(a.stdout).(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminal returns stderr if it is a terminal, else nil.
func (a *app) terminal() *os.File {
	if a.tty != nil {
		return a.tty
	}
	if f, ok := a.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// width returns how many columns stderr has, 78 if it is no terminal.
func (a *app) width() int {
	if f := a.terminal(); f != nil {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 78
}

// jsonFlag adds --json to a verb whose result has a JSON form.
func jsonFlag(cmd *cobra.Command, p *bool) {
	cmd.Flags().BoolVar(p, "json", false, "print the result as one JSON document")
}

// printJSON writes v to stdout as one indented JSON document.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
