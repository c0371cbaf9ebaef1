package formula

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// A Result is what a call has given.
type Result struct {
	Output    []byte // JSON
	Sensitive bool   // it was made from a sensitive value
}

// A Pending is a ware, step, call or output that is not known before calls have run.
type Pending struct {
	Addr   string
	Kind   string   // "ware", "step", "call" or "output"
	Awaits []string // addresses of calls, sorted; some may be pending themselves
	Range  hcl.Range
}

// awaits are addresses of calls whose outputs something needs to be known.
type awaits map[string]bool

// await notes that what is being evaluated needs the outputs of calls.
func (l *loader) await(calls awaits) {
	if len(calls) == 0 || len(l.waiting) == 0 {
		return
	}
	top := &l.waiting[len(l.waiting)-1]
	if *top == nil {
		*top = awaits{}
	}
	maps.Copy(*top, calls)
}

// awaited evaluates something and returns the calls it needs the outputs of. Where
// there are any, that values were not known is no fault.
func (l *loader) awaited(eval func()) awaits {
	skipped := l.skipped
	l.skipped, l.waiting = false, append(l.waiting, nil)
	eval()
	last := len(l.waiting) - 1
	calls := l.waiting[last]
	l.waiting = l.waiting[:last]
	l.skipped = skipped || l.skipped && calls == nil
	return calls
}

// block evaluates a block into what it declares. When that awaits calls, drop takes
// it back and the block is pending.
func (l *loader) block(d *decl, eval, drop func()) {
	if calls := l.awaited(eval); calls != nil {
		l.addPending(d, d.addr, calls)
		drop()
	}
}

func (l *loader) addPending(d *decl, addr string, calls awaits) {
	if l.pending == nil {
		l.pending = map[string]*Pending{}
	}
	l.pending[addr] = &Pending{Addr: addr, Kind: d.block.Type, Awaits: slices.Sorted(maps.Keys(calls)), Range: d.header()}
}

// allPending makes every instance of a block pending that is.
func (l *loader) allPending(d *decl, steps []*Step) []*Step {
	whole := l.pending[d.addr]
	for _, s := range steps {
		if s.Addr != d.addr {
			one := *whole
			one.Addr = s.Addr
			l.pending[s.Addr] = &one
		}
	}
	if len(steps) > 0 && steps[0].Addr != d.addr {
		delete(l.pending, d.addr)
	}
	return nil
}

// await notes that t, which goes on from a step or call with rest, needs a call's
// output to be known. The file that it is in is a ware like another.
func (r *references) await(s *stepBlock, addr string, rest hcl.Traversal) {
	if s.kind() != "call" {
		return
	}
	if len(rest) > 0 {
		if name, ok := attrName(rest[0]); ok && name == "file" {
			return
		}
	}
	if _, known := r.m.l.options.Results[addr]; !known {
		r.m.l.await(awaits{addr: true})
	}
}

func (r *references) awaitAll(s *stepBlock) {
	if s.attr("for_each") == nil {
		r.await(s, s.addr, nil)
		return
	}
	keys, _ := r.m.keys(s)
	for i := range keys {
		r.await(s, instanceAddr(s.addr, keys[i].key), nil)
	}
}

// spreadPending makes what needs something pending pending as well, in f.Steps, which
// is in topological order, and in the outputs.
func (l *loader) spreadPending(f *Formula) {
	if len(l.pending) == 0 {
		return
	}
	isPending := func(r Ref) *Pending {
		if r.Step != "" {
			return l.pending[r.Step]
		}
		return l.pending[r.Ware]
	}
	f.Steps = slices.DeleteFunc(f.Steps, func(s *Step) bool {
		calls := awaits{}
		for _, in := range s.Inputs {
			calls.add(isPending(in.From))
		}
		for _, addr := range s.DependsOn {
			calls.add(l.pending[addr])
		}
		if len(calls) == 0 {
			return false
		}
		kind := "step"
		if s.Action.Call != nil {
			kind = "call"
		}
		l.pending[s.Addr] = &Pending{Addr: s.Addr, Kind: kind, Awaits: slices.Sorted(maps.Keys(calls)), Range: s.Range}
		return true
	})
	f.Outputs = slices.DeleteFunc(f.Outputs, func(o *Output) bool {
		calls := awaits{}
		calls.add(isPending(o.From))
		if o.Image != nil {
			for _, layer := range o.Image.Layers {
				calls.add(isPending(layer.From))
			}
		}
		if len(calls) > 0 {
			l.pending["output."+o.Name] = &Pending{Addr: "output." + o.Name, Kind: "output", Awaits: slices.Sorted(maps.Keys(calls)), Range: o.Range}
		}
		return len(calls) > 0
	})
	f.Pending = slices.SortedFunc(maps.Values(l.pending), func(a, b *Pending) int { return strings.Compare(a.Addr, b.Addr) })
	l.checkProgress(f)
}

func (a awaits) add(p *Pending) {
	if p != nil {
		for _, addr := range p.Awaits {
			a[addr] = true
		}
	}
}

// Awaited returns the addresses of calls that can run and that something pending needs
// the outputs of, in the order of f.Steps.
func (f *Formula) Awaited() []string {
	wanted := awaits{}
	for _, p := range f.Pending {
		wanted.add(p)
	}
	var addrs []string
	for _, s := range f.Steps {
		if wanted[s.Addr] {
			addrs = append(addrs, s.Addr)
		}
	}
	return addrs
}

// checkProgress reports calls that wait for themselves: running calls never makes
// them known.
func (l *loader) checkProgress(f *Formula) {
	stuck := maps.Clone(l.pending)
	waitsForStuck := func(p *Pending) *Pending {
		for _, addr := range p.Awaits {
			if next := stuck[addr]; next != nil {
				return next
			}
		}
		return nil
	}
	for freed := true; freed; {
		freed = false
		for addr, p := range stuck {
			if waitsForStuck(p) == nil {
				delete(stuck, addr)
				freed = true
			}
		}
	}
	for _, p := range f.Pending {
		if stuck[p.Addr] == nil {
			continue
		}
		var path []string
		for at := p; ; at = waitsForStuck(at) {
			if i := slices.Index(path, at.Addr); i >= 0 {
				path, p = path[i:], at
				break
			}
			path = append(path, at.Addr)
		}
		l.report(problem(p.Range, p.Range, "Cycle of references", "%s is made from its own output: %s. Break the circle at one of them.", p.Addr, cyclePath(path)))
		return
	}
}

// callAttributes are what an expression finds in a call.
var callAttributes = []string{"file", "output"}

// callValue is what `call.NAME` is in an expression, or `call.NAME[KEY]`.
func (m *module) callValue(addr string) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		"file":   wareValue(Ref{Step: addr, Output: CallOutput}),
		"output": m.l.result(addr),
	})
}

// result returns the output of a call, unknown while there is none.
func (l *loader) result(addr string) cty.Value {
	if v, ok := l.results[addr]; ok {
		return v
	}
	r, ok := l.options.Results[addr]
	if !ok {
		return cty.DynamicVal
	}
	v, err := jsonDecodeFunc.Call([]cty.Value{cty.StringVal(string(r.Output))})
	if err != nil {
		l.fail("Output of a call cannot be used", "What %s gave cannot be a value of a formula: %s.", addr, err)
		v = cty.DynamicVal
	}
	if r.Sensitive {
		v = v.Mark(sensitive)
	}
	if l.results == nil {
		l.results = map[string]cty.Value{}
	}
	l.results[addr] = v
	return v
}
