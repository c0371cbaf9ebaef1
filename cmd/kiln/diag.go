package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/kilnbuild/kiln/plan"
	"golang.org/x/sys/unix"
)

// How kiln speaks to a person. All of it goes to stderr, through this file:
//
//   - a mistake in a formula is printed as HCL diagnostics, all of them;
//   - any other error is one line, "kiln: operation object: cause", lower case;
//   - a hint, whole sentences, follows on a line of its own;
//   - an error that was told already (a failed step, told by the story of the
//     run) is not told again.

// diagError is hcl.Diagnostics as an error, with the files they point into.
type diagError struct {
	diags hcl.Diagnostics
	files map[string]*hcl.File
}

func (e *diagError) Error() string { return e.diags.Error() }

// diagnose turns what formula and plan return into an error, and is the only
// place that does. Warnings alone are printed and no error.
func (a *app) diagnose(diags hcl.Diagnostics, files map[string]*hcl.File) error {
	if len(diags) == 0 {
		return nil
	}
	e := &diagError{diags, files}
	if diags.HasErrors() {
		return e
	}
	a.printDiags(e)
	return nil
}

func (a *app) printDiags(e *diagError) {
	w := hcl.NewDiagnosticTextWriter(a.stderr, withoutSecrets(e.files), uint(a.width()), a.colored())
	if err := w.WriteDiagnostics(e.diags); err != nil {
		fmt.Fprintln(a.stderr, "kiln:", e.diags.Error())
	}
}

// secretInURL finds what lets in who has it in the URLs of a source, as far as a line of
// it that is shown could give it away.
var secretInURL = lazyregexp.New(`://[^/\s"@:]*:([^/\s"@]+)@|://([^/\s"@:]{20,})@|(?i)[?&](?:access_token|api_?key|password|private_token|secret|sig|signature|token|x-(?:amz|goog)-(?:credential|security-token|signature))=([^&\s"]+)`)

// withoutSecrets returns files with x in place of secrets in URLs, byte for byte, so that
// ranges point to where they did.
func withoutSecrets(files map[string]*hcl.File) map[string]*hcl.File {
	clean := make(map[string]*hcl.File, len(files))
	for name, f := range files {
		clean[name] = f
		found := secretInURL.FindAllSubmatchIndex(f.Bytes, -1)
		if found == nil {
			continue
		}
		masked := *f
		masked.Bytes = bytes.Clone(f.Bytes)
		for _, at := range found {
			for i := 2; i < len(at); i += 2 {
				for j := at[i]; j >= 0 && j < at[i+1]; j++ {
					masked.Bytes[j] = 'x'
				}
			}
		}
		clean[name] = &masked
	}
	return clean
}

// hintError adds what to do to an error that says what happened.
type hintError struct {
	error
	hint string
}

func (e *hintError) Unwrap() error { return e.error }

// withHint adds hint, whole sentences, to err.
func withHint(err error, hint string) error { return &hintError{err, hint} }

// toldError marks an error that the person has seen already.
type toldError struct{ error }

func (e *toldError) Unwrap() error { return e.error }

// told keeps kiln from printing err; it still sets the exit code.
func told(err error) error { return &toldError{err} }

// printError prints the error that a command ended with, if any.
func (a *app) printError(err error) {
	var diags *diagError
	var seen *toldError
	var hint *hintError
	switch {
	case err == nil || errors.As(err, &seen):
		return
	case errors.As(err, &diags):
		a.printDiags(diags)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(a.stderr, "kiln: interrupted")
	default:
		fmt.Fprintf(a.stderr, "kiln: %v\n", err)
	}
	switch {
	case errors.As(err, &hint):
		fmt.Fprintln(a.stderr, hint.hint)
	case isFull(err) && exitCodeOf(err) != codeSandbox: // which is also what too many namespaces are called
		fmt.Fprintln(a.stderr, "The disk is full. kiln warehouse du says what kiln keeps on it, and kiln gc --max-size makes room.")
	}
}

// isKept reports whether a path is where kiln keeps things.
func isKept(path string) bool {
	data, dataErr := homePath("KILN_DATA_HOME", "XDG_DATA_HOME", ".local/share")
	cache, cacheErr := homePath("KILN_CACHE_HOME", "XDG_CACHE_HOME", ".cache")
	return dataErr == nil && strings.HasPrefix(path, data+"/") || cacheErr == nil && strings.HasPrefix(path, cache+"/")
}

// isFull reports whether err, or what a diagnostic was made of, is that there is no room.
func isFull(err error) bool {
	var diags *diagError
	if errors.As(err, &diags) {
		return isFull(plan.Cause(diags.diags))
	}
	if at, ok := errors.AsType[*fs.PathError](err); ok && !isKept(at.Path) {
		return false // gc makes no room there
	}
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
