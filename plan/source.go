package plan

import (
	"errors"
	"net/url"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// ErrMismatch matches what Resolve and Fetch report when bytes are not those that
// the formula or the lock file names.
var ErrMismatch = errors.New("hash mismatch")

// ErrUnavailable matches what Resolve and Fetch report when a ware cannot be had:
// the server does not give it, or the network is forbidden.
var ErrUnavailable = errors.New("ware unavailable")

// mismatchError and unavailableError mark an error without changing its text.
type mismatchError struct{ error }

func (e mismatchError) Is(target error) bool {
	return target == ErrMismatch || target == warehouse.ErrMismatch
}
func (e mismatchError) Unwrap() error { return e.error }

type unavailableError struct{ error }

func (e unavailableError) Is(target error) bool { return target == ErrUnavailable }
func (e unavailableError) Unwrap() error        { return e.error }

// Cause joins the errors behind diagnostics of this package, for errors.Is; nil
// if there are none.
func Cause(diags hcl.Diagnostics) error {
	var causes []error
	for _, d := range diags {
		if err, ok := d.Extra.(error); ok && d.Severity == hcl.DiagError {
			causes = append(causes, err)
		}
	}
	return errors.Join(causes...)
}

// Why an entry of the lock file is written.
const (
	reasonNew     = "new"
	reasonSource  = "source changed"
	reasonUpdated = "updated"
)

// wareDiag is the diagnostic for err about w: it points at w's source.
func wareDiag(w *formula.Ware, summary, detail string, err error) *hcl.Diagnostic {
	subject := w.Source.Range
	if subject.Filename == "" {
		subject = w.Range
	}
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Extra: err}
	if subject.Filename != "" {
		d.Subject = &subject
	}
	return d
}

// failDiag says what went wrong with w and what to do about it.
func failDiag(w *formula.Ware, err error) *hcl.Diagnostic {
	summary, hint := "Cannot resolve ware", ""
	switch {
	case errors.Is(err, ErrMismatch):
		summary = "Hash mismatch"
		hint = " If the source was meant to change, correct sha256 or run kiln update " + w.Addr + "."
		if w.Source.Kind == formula.SourceGit {
			hint = " A commit does not change: the lock file was edited, or made by a kiln that read it otherwise. To believe the repository, run kiln update " + w.Addr + "."
		}
	case errors.Is(err, pack.ErrRatio):
		hint = " If it is right that it holds so much, say with sha256 which bytes are meant."
	case errors.Is(err, warehouse.ErrMissing), errors.Is(err, ErrUnavailable):
		summary = "Ware unavailable"
		if w.Source.Kind == formula.SourceCatalog {
			hint = " If its release has a replay, kiln run --recursive makes it."
		}
	}
	return wareDiag(w, summary, w.Addr+": "+err.Error()+"."+hint, err)
}

// redactURL returns rawURL without its password, for messages and the lock file, and
// with xxxxx for other secrets.
func redactURL(rawURL string) string {
	redacted := warehouse.RedactURL(rawURL)
	u, err := url.Parse(redacted)
	if err != nil || u.User == nil {
		return redacted
	}
	if _, secret := u.User.Password(); secret {
		u.User = url.User(u.User.Username())
	}
	return u.String()
}
