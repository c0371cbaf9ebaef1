package formula

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
)

// maxRepeats is how often one problem at one place is reported: instances made by
// for_each may all have it.
const maxRepeats = 3

// maxContext is how many lines of a block are shown around a problem in it.
const maxContext = 15

// problem builds an error diagnostic. A zero context is left out, and so is one that
// would fill the screen.
func problem(subject, context hcl.Range, summary, detail string, args ...any) *hcl.Diagnostic {
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail}
	if subject.Filename != "" {
		d.Subject = &subject
	}
	if context.Filename == subject.Filename && context.Filename != "" && context.End.Line-context.Start.Line < maxContext {
		d.Context = &context
	}
	return d
}

// nearest returns the name most like given, or "" when none is near: at most a
// third of its letters may differ.
func nearest(given string, names []string) string {
	best, bestDistance := "", max(1, len(given)/3)+1
	if len(given) > 200 {
		return ""
	}
	for _, name := range names {
		if d := levenshtein.Distance(given, name, nil); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// didYouMean returns a sentence to append to a detail: the nearest name, or the
// names there are when they are few, or nothing.
func didYouMean(given string, names []string) string {
	names = slices.Sorted(slices.Values(names))
	if name := nearest(given, names); name != "" {
		return fmt.Sprintf(" Did you mean %q?", name)
	}
	if len(names) == 0 || len(names) > 8 {
		return ""
	}
	return " There is " + quoteAll(names) + "."
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " and " + quoted[last]
}

// tidy sorts diagnostics by place and drops repeats: the same text at the same
// place once, the same summary at the same place at most maxRepeats times.
func tidy(diags hcl.Diagnostics) hcl.Diagnostics {
	slices.SortStableFunc(diags, comparePlaces)
	type place struct {
		summary string
		subject hcl.Range
	}
	seen := make(map[place][]*hcl.Diagnostic)
	more := make(map[place]int)
	kept := diags[:0]
	for _, d := range diags {
		at := place{summary: d.Summary}
		if d.Subject != nil {
			at.subject = *d.Subject
		}
		sameDetail := func(o *hcl.Diagnostic) bool { return o.Detail == d.Detail }
		switch before := seen[at]; {
		case slices.ContainsFunc(before, sameDetail):
			continue
		case len(before) >= maxRepeats && d.Subject != nil:
			more[at]++
			continue
		}
		seen[at] = append(seen[at], d)
		kept = append(kept, d)
	}
	for at, n := range more {
		last := seen[at][maxRepeats-1]
		last.Detail += fmt.Sprintf(" And %d more like this.", n)
	}
	return kept
}

func comparePlaces(a, b *hcl.Diagnostic) int {
	switch {
	case a.Subject == nil && b.Subject == nil:
		return 0
	case a.Subject == nil:
		return -1
	case b.Subject == nil:
		return 1
	}
	return cmp.Or(
		strings.Compare(a.Subject.Filename, b.Subject.Filename),
		cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte),
		cmp.Compare(a.Subject.End.Byte, b.Subject.End.Byte),
		strings.Compare(a.Summary, b.Summary),
	)
}

// DidYouMean returns a sentence to append to a diagnostic's detail: the name nearest
// to given, or the names there are when they are few, or nothing.
func DidYouMean(given string, names []string) string { return didYouMean(given, names) }
