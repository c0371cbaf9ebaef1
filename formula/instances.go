package formula

import (
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// instanceKeys are the instances that for_each makes, sorted by key.
type instanceKeys []instance

type instance struct {
	key   string
	value cty.Value
}

// variables is what an instance adds to the context of its block.
func (i *instance) variables() map[string]cty.Value {
	return eachVariables(cty.StringVal(i.key), i.value)
}

func eachVariables(key, value cty.Value) map[string]cty.Value {
	return map[string]cty.Value{"each": cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})}
}

func (k instanceKeys) find(key string) (int, bool) {
	return slices.BinarySearchFunc(k, key, func(i instance, key string) int { return strings.Compare(i.key, key) })
}

func (k instanceKeys) names() []string {
	list := make([]string, len(k))
	for i := range k {
		list[i] = k[i].key
	}
	return list
}

// keys evaluates b's for_each. It is false when that has a problem.
func (m *module) keys(b *stepBlock) (instanceKeys, bool) {
	attr := b.attr("for_each")
	m.l.force(&b.keysNode, func() cty.Value {
		s := m.scope(b.around(), m.context(b.around(), false, attr.Expr))
		if keys, ok := s.setKeys(attr.Expr); ok {
			b.eachKeys, b.keysKnown = keys, true
		} else {
			b.eachKeys, b.keysKnown = s.instanceKeys(b, attr.Expr.Range(), s.raw(attr.Expr))
		}
		s.done()
		return cty.True
	})
	return b.eachKeys, b.keysKnown
}

// setKeys returns the keys of a for_each written as toset(LIST), where LIST is of
// strings, without making the set: cty takes longer to put a set in order than all
// the rest of ten thousand instances takes. It is false for everything else, and
// reports nothing.
func (s *scope) setKeys(expr hclsyntax.Expression) (instanceKeys, bool) {
	call, ok := expr.(*hclsyntax.FunctionCallExpr)
	if !ok || call.Name != "toset" || len(call.Args) != 1 || call.ExpandFinal {
		return nil, false
	}
	v, diags := call.Args[0].Value(s.ctx)
	ty := v.Type()
	if diags.HasErrors() || !v.IsWhollyKnown() || v.IsNull() || v.ContainsMarked() || !ty.IsTupleType() && !ty.IsListType() {
		return nil, false
	}
	keys := make(instanceKeys, 0, v.LengthInt())
	for it := v.ElementIterator(); it.Next(); {
		_, key := it.Element()
		if key.Type() != cty.String || key.IsNull() || key.AsString() == "" {
			return nil, false
		}
		keys = append(keys, instance{key: key.AsString(), value: key})
	}
	keys.sort()
	return slices.CompactFunc(keys, func(a, b instance) bool { return a.key == b.key }), true
}

func (k instanceKeys) sort() {
	slices.SortFunc(k, func(a, b instance) int { return strings.Compare(a.key, b.key) })
}

func (s *scope) instanceKeys(b *stepBlock, at hcl.Range, v cty.Value) (instanceKeys, bool) {
	if v.IsMarked() || !v.CanIterateElements() && v.ContainsMarked() {
		s.problem(at, "Sensitive for_each", "The instances of %s come from a sensitive value, and their names would show it.", b.addr)
		return nil, false
	}
	if !v.IsKnown() {
		s.skipped = true
		return nil, false
	}
	ty := v.Type()
	if v.IsNull() || !ty.IsSetType() && !ty.IsMapType() && !ty.IsObjectType() {
		hint := ""
		if ty.IsTupleType() || ty.IsListType() {
			hint = " Make it a set with toset(…)."
		}
		s.problem(at, "Invalid for_each", "for_each takes a set of strings, a map or an object, and this is %s.%s", describe(v), hint)
		return nil, false
	}
	if ty.IsSetType() && ty.ElementType() != cty.String && v.LengthInt() > 0 {
		s.problem(at, "Invalid for_each", "for_each takes a set of strings, and this is a set of %s.", ty.ElementType().FriendlyNameForConstraint())
		return nil, false
	}
	keys := make(instanceKeys, 0, v.LengthInt())
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		if key.IsMarked() || !key.IsKnown() || key.IsNull() || key.AsString() == "" {
			s.problem(at, "Invalid for_each", "A key of for_each is null or empty, and it names an instance.")
			return nil, false
		}
		keys = append(keys, instance{key: key.AsString(), value: value})
	}
	keys.sort()
	return keys, true
}

// instanceValue is what `step.NAME` is in an expression, or `step.NAME[KEY]`: an
// object of its outputs.
func (m *module) instanceValue(b *stepBlock, addr string) cty.Value {
	if b.kind() == "call" {
		return m.callValue(addr)
	}
	names := m.outputNames(b)
	if b.namesUnknown {
		return cty.DynamicVal
	}
	outputs := make(map[string]cty.Value, len(names))
	for _, name := range names {
		outputs[name] = wareValue(Ref{Step: addr, Output: name})
	}
	return cty.ObjectVal(outputs)
}

// stepValue is the value of a whole step; of one with for_each a map of its instances.
func (m *module) stepValue(b *stepBlock) cty.Value {
	if b.whole != cty.NilVal {
		return b.whole
	}
	var value cty.Value
	if b.attr("for_each") == nil {
		value = m.instanceValue(b, b.addr)
	} else if keys, ok := m.keys(b); !ok {
		return cty.DynamicVal
	} else {
		value = m.instancesValue(b, keys)
	}
	if b.keysNode.state != evaluating && b.namesNode.state != evaluating {
		b.whole = value
	}
	return value
}

func (m *module) instancesValue(b *stepBlock, keys instanceKeys) cty.Value {
	values := make(map[string]cty.Value, len(keys))
	for _, i := range keys {
		values[i.key] = m.instanceValue(b, instanceAddr(b.addr, i.key))
	}
	if len(values) == 0 || b.namesUnknown || b.kind() == "call" {
		return cty.ObjectVal(values)
	}
	return cty.MapVal(values)
}

// wholeStepHint names the outputs of a step that was named as a whole.
func (m *module) wholeStepHint(name string) string {
	b := m.steps[name]
	if b == nil {
		return ""
	}
	outputs := m.outputNames(b)
	if len(outputs) == 0 {
		return " This step has no outputs."
	}
	return " This is a whole step: name one of its outputs, " + quoteAll(outputs) + "."
}

// parallelFrom is how many instances are worth more than one goroutine.
const parallelFrom = 256

// instances evaluates a step block into its steps.
func (m *module) instances(b *stepBlock) []*Step {
	each := b.attr("for_each") != nil
	keys, known := instanceKeys{{}}, true
	if each {
		keys, known = m.keys(b)
	}
	m.outputNames(b)
	s := m.scope(b.around(), m.context(b.around(), each, bodyExprs(b)...))
	f := s.fields(b)
	var shared []StepOutput
	if f.outputsShared() {
		shared = s.collectOutputs(f)
	}
	s.done()
	if !known {
		return nil
	}
	steps := make([]*Step, len(keys))
	all := make([]Step, len(keys))
	forEachChunk(len(keys), func(from, to int) {
		total := m.scope(b.around(), nil)
		for i := from; i < to; i++ {
			steps[i] = &all[i]
			inner := s.make(b, f, &keys[i], shared, &all[i])
			total.diags = append(total.diags, inner.diags...)
			total.skipped = total.skipped || inner.skipped
		}
		m.l.mu.Lock()
		total.done()
		m.l.mu.Unlock()
	})
	return steps
}

// forEachChunk calls do for ranges that make up n, on all cores when n is large.
func forEachChunk(n int, do func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), n/parallelFrom+1)
	size := (n + workers - 1) / workers
	var wg sync.WaitGroup
	for from := size; from < n; from += size {
		wg.Go(func() { do(from, min(n, from+size)) })
	}
	do(0, min(n, size))
	wg.Wait()
}

// make evaluates one instance of b into step. The receiver is the block's scope, which
// stays as it is; the instance's own is returned.
func (s *scope) make(b *stepBlock, f *stepFields, i *instance, shared []StepOutput, step *Step) scope {
	inner := *s
	inner.diags = nil
	step.Addr, step.Range = b.addr, b.header()
	if i.key != "" {
		step.Addr = instanceAddr(b.addr, i.key)
		if _, broken := s.ctx.Variables["each"]; !broken {
			inner.ctx = s.ctx.NewChild()
			inner.ctx.Variables = i.variables()
		}
	}
	step.Inputs, step.Env = inner.ports(f)
	step.Action = inner.makeAction(f, b)
	step.Outputs = inner.outputs(f, step.Inputs, shared)
	step.Timeout, step.Cwd, step.User = f.timeout.get(&inner), f.cwd.get(&inner), f.user.get(&inner)
	step.Network = f.network.get(&inner)
	step.Resources, step.Runner = f.resources.get(&inner), f.runner.get(&inner)
	step.DependsOn = f.dependsOn
	step.Sensitive = inner.sensitive
	return inner
}
