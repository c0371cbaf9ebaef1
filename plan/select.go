package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// Select returns the steps that targets name and all they need, in topological
// order; all steps when there are no targets. A target is the address of a step
// ("step." may be left out); the address of a for_each step without its key means
// all its instances. The error names every unknown target and the nearest address.
func (p *Plan) Select(targets []string) ([]*Step, error) {
	if len(targets) == 0 {
		return p.Steps, nil
	}
	want, err := p.named(targets)
	if err != nil {
		return nil, err
	}
	var steps []*Step
	for i := len(p.Steps) - 1; i >= 0; i-- {
		if !want[i] {
			continue
		}
		steps = append(steps, p.Steps[i])
		for _, d := range p.Steps[i].Deps {
			want[d] = true
		}
	}
	slices.Reverse(steps)
	return steps, nil
}

// Named returns the steps that targets name, without what they need, in topological
// order; none when there are no targets. Targets and the error are those of Select.
func (p *Plan) Named(targets []string) ([]*Step, error) {
	want, err := p.named(targets)
	var steps []*Step
	for i, wanted := range want {
		if wanted {
			steps = append(steps, p.Steps[i])
		}
	}
	return steps, err
}

func (p *Plan) named(targets []string) ([]bool, error) {
	want := make([]bool, len(p.Steps))
	var unknown []string
	for _, t := range targets {
		if !p.mark(want, t) && !p.mark(want, "step."+t) {
			unknown = append(unknown, p.unknownStep(t))
		}
	}
	if unknown != nil {
		return nil, fmt.Errorf("select steps: %s", strings.Join(unknown, "; "))
	}
	return want, nil
}

// mark sets want for the steps that addr means and reports whether there are any.
func (p *Plan) mark(want []bool, addr string) bool {
	if s := p.ByAddr[addr]; s != nil {
		want[s.Index] = true
		return true
	}
	found := false
	for i, s := range p.Steps {
		if group(s.Addr) == addr {
			want[i], found = true, true
		}
	}
	return found
}

func (p *Plan) unknownStep(target string) string {
	msg := fmt.Sprintf("no step %s in this formula", target)
	var names []string
	for _, s := range p.Steps {
		names = append(names, s.Addr)
		if g := group(s.Addr); g != s.Addr && names[max(len(names)-2, 0)] != g {
			names = append(names, g)
		}
	}
	if near := nearest(target, names); near != "" {
		msg += fmt.Sprintf(", did you mean %s?", near)
	}
	return msg
}

// nearest returns the name that is most like s, or "" when none is close. An
// address is compared with and without the "step." or "ware." before it.
func nearest(s string, names []string) string {
	best, bestDist := "", max(3, len(s)/3)+1
	for _, n := range names {
		d := levenshtein.Distance(s, n, nil)
		if _, short, ok := strings.Cut(n, "."); ok {
			d = min(d, levenshtein.Distance(s, short, nil))
		}
		if d < bestDist {
			best, bestDist = n, d
		}
	}
	return best
}
