package warpforge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// problem builds an error diagnostic; a zero subject is left out.
func problem(subject hcl.Range, summary, detail string, args ...any) *hcl.Diagnostic {
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail}
	if subject.Filename != "" {
		d.Subject = &subject
	}
	return d
}

func warning(subject hcl.Range, summary, detail string, args ...any) *hcl.Diagnostic {
	d := problem(subject, summary, detail, args...)
	d.Severity = hcl.DiagWarning
	return d
}

// quote quotes text that a document says, which may be long or hold anything.
func quote(text string) string {
	const most = 120
	if len(text) > most {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(text[:most], ""))
	}
	return fmt.Sprintf("%q", text)
}

// sorted puts diagnostics in the order of the files, each once.
func sorted(diags hcl.Diagnostics) hcl.Diagnostics {
	place := func(d *hcl.Diagnostic) (string, int) {
		if d.Subject == nil {
			return "", 0
		}
		return d.Subject.Filename, d.Subject.Start.Byte
	}
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int {
		fileA, byteA := place(a)
		fileB, byteB := place(b)
		return cmp.Or(strings.Compare(fileA, fileB), cmp.Compare(byteA, byteB))
	})
	return slices.CompactFunc(diags, func(a, b *hcl.Diagnostic) bool {
		fileA, byteA := place(a)
		fileB, byteB := place(b)
		return fileA == fileB && byteA == byteB && a.Detail == b.Detail
	})
}
