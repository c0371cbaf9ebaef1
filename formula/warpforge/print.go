package warpforge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Print writes a document the way warpforge's own are written: indented with tabs, in
// the order in which it was read. Parsing it gives the same document.
func Print(d *Document) []byte {
	var root *object
	switch d.Kind {
	case KindFormula:
		root = obj("formula", obj("formula.v1", d.Formula.object()))
		if d.HasContext {
			warehouses := &object{}
			for _, w := range d.Warehouses {
				warehouses.add(w.Ware.Value, w.Addr.Value)
			}
			root.add("context", obj("context.v1", obj("warehouses", warehouses)))
		}
	case KindPlot:
		root = obj(string(KindPlot), d.Plot.object())
	case KindModule:
		root = obj(string(KindModule), obj("name", d.Module.Value))
	}
	var b bytes.Buffer
	write(&b, root, 0)
	b.WriteByte('\n')
	return b.Bytes()
}

// object is a JSON object whose names keep their order.
type object struct {
	names  []string
	values []any // string, bool, *object, []any
}

func obj(name string, value any) *object {
	o := &object{}
	o.add(name, value)
	return o
}

func (o *object) add(name string, value any) {
	o.names, o.values = append(o.names, name), append(o.values, value)
}

func (f *Formula) object() *object {
	outputs := &object{}
	for _, g := range f.Outputs {
		out := obj("from", g.From.Value)
		if g.Packtype.Range.Filename != "" {
			out.add("packtype", g.Packtype.Value)
		}
		if g.HasFilters {
			out.add("filters", filterObject(g.Filters))
		}
		outputs.add(g.Name.Value, out)
	}
	o := obj("inputs", inputsObject(f.Inputs))
	o.add("action", f.Action.object())
	o.add("outputs", outputs)
	return o
}

func (p *Plot) object() *object {
	steps, outputs := &object{}, &object{}
	for _, s := range p.Steps {
		if s.Formula != nil {
			steps.add(s.Name.Value, obj("protoformula", s.Formula.object()))
		} else {
			steps.add(s.Name.Value, obj("plot", s.Plot.object()))
		}
	}
	for _, out := range p.Outputs {
		outputs.add(out.Name.Value, "pipe:"+out.Step+":"+out.Label)
	}
	o := obj("inputs", inputsObject(p.Inputs))
	o.add("steps", steps)
	o.add("outputs", outputs)
	return o
}

func inputsObject(inputs []Input) *object {
	o := &object{}
	for _, in := range inputs {
		text := string(in.Kind) + ":" + in.Text
		if !in.Complex {
			o.add(in.Name.Value, text)
			continue
		}
		c := obj("basis", text)
		c.add("filters", filterObject(in.Filters))
		o.add(in.Name.Value, c)
	}
	return o
}

func filterObject(filters []Filter) *object {
	o := &object{}
	for _, f := range filters {
		o.add(f.Key.Value, f.Value.Value)
	}
	return o
}

func (a *Action) object() *object {
	o := &object{}
	switch a.Kind {
	case ActionExec:
		o.add("command", list(a.Command))
	case ActionScript:
		o.add("interpreter", a.Interpreter.Value)
		o.add("contents", list(a.Contents))
	}
	if a.Network != nil {
		o.add("network", *a.Network)
	}
	return obj(string(a.Kind), o)
}

func write(b *bytes.Buffer, v any, depth int) {
	line := func(depth int) { b.WriteString("\n" + strings.Repeat("\t", depth)) }
	switch v := v.(type) {
	case *object:
		b.WriteByte('{')
		for i, name := range v.names {
			if i > 0 {
				b.WriteByte(',')
			}
			line(depth + 1)
			writeText(b, name)
			b.WriteString(": ")
			write(b, v.values[i], depth+1)
		}
		if len(v.names) > 0 {
			line(depth)
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			line(depth + 1)
			write(b, item, depth+1)
		}
		if len(v) > 0 {
			line(depth)
		}
		b.WriteByte(']')
	case string:
		writeText(b, v)
	default:
		fmt.Fprint(b, v)
	}
}

// writeText writes a JSON string without the escapes that only HTML needs.
func writeText(b *bytes.Buffer, s string) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	e.Encode(s)
	b.Truncate(b.Len() - 1) // the newline that Encode ends with
}
