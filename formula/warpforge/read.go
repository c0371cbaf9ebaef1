package warpforge

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
)

// Parse reads one document. It is nil when there are errors. Diagnostics name the
// file filename.
func Parse(src []byte, filename string) (*Document, hcl.Diagnostics) {
	r := &reader{src: src}
	var d *Document
	if root, ok := r.parse(filename); ok {
		d = r.document(root)
	}
	if r.diags.HasErrors() {
		return nil, r.diags
	}
	return d, r.diags
}

var capsules = []string{"formula", string(KindPlot), string(KindModule)}

func (r *reader) document(n node) *Document {
	members, ok := r.object(n, "A document")
	if !ok {
		return nil
	}
	d := &Document{Range: n.start()}
	for _, m := range members {
		switch key := m.key.Value; {
		case d.Kind != "" && key != "context":
			r.report(m.key.Range, "Two documents", "The file holds a %s already. One file holds one document.", d.Kind)
		case key == "formula":
			d.Kind = KindFormula
			if inner, ok := r.capsule(m.value, "A formula", "formula.v1"); ok {
				d.Formula = r.formula(inner, "The formula")
			}
		case key == "context":
			d.HasContext = true
			if inner, ok := r.capsule(m.value, "A context", "context.v1"); ok {
				d.Warehouses = r.context(inner)
			}
		case key == string(KindPlot):
			d.Kind, d.Plot = KindPlot, r.plot(m.value, "The plot")
		case key == string(KindModule):
			d.Kind = KindModule
			if fields, ok := r.fields(m.value, "A module", "name!"); ok {
				d.Module, _ = r.text(fields["name"], "A module's name")
				r.moduleName(d.Module)
			}
		case strings.HasPrefix(key, "catalog") || key == "releaseName":
			r.report(m.key.Range, "Part of a catalog", "This is a file of a catalog, which plots refer to with \"catalog:MODULE:RELEASE:ITEM\". It cannot be run.")
			return nil
		default:
			r.report(m.key.Range, "Unknown document", "A warpforge document is a \"formula\" with its \"context\", a \"plot.v1\" or a \"module.v1\", and this is %s.%s",
				quote(key), formula.DidYouMean(key, capsules))
		}
	}
	if d.Kind == "" && !r.diags.HasErrors() {
		r.report(n.start(), "Empty document", "A warpforge document is a \"formula\" with its \"context\", a \"plot.v1\" or a \"module.v1\".")
	}
	if d.HasContext && d.Kind != KindFormula && d.Kind != "" {
		r.report(n.start(), "Context without a formula", "Only a formula has a context.")
	}
	return d
}

// capsule opens an object whose one name is a version.
func (r *reader) capsule(n node, what, version string) (node, bool) {
	fields, ok := r.fields(n, what, version+"!")
	return fields[version], ok
}

func (r *reader) context(n node) (list []Warehouse) {
	fields, _ := r.fields(n, "A context", "warehouses!")
	warehouses, there := fields["warehouses"]
	if !there {
		return nil
	}
	members, _ := r.object(warehouses, "The list of warehouses")
	for _, m := range members {
		if addr, ok := r.text(m.value, "The address of a warehouse"); ok {
			r.wareID(m.key.Value, m.key.Range)
			r.warehouseAddr(addr)
			list = append(list, Warehouse{m.key, addr})
		}
	}
	return list
}

func (r *reader) formula(n node, what string) *Formula {
	f := &Formula{Range: n.start()}
	fields, ok := r.fields(n, what, "inputs!", "action!", "outputs!")
	if in, there := fields["inputs"]; there {
		f.Inputs = r.inputs(in, "The list of inputs")
	}
	if action, there := fields["action"]; there {
		f.Action = r.action(action)
	}
	if out, there := fields["outputs"]; there {
		f.Outputs = r.gathers(out)
	}
	if !ok {
		return f
	}
	return f
}

var actions = []string{string(ActionEcho), string(ActionExec), string(ActionScript)}

func (r *reader) action(n node) Action {
	members, ok := r.object(n, "An action")
	if !ok {
		return Action{}
	}
	if len(members) != 1 {
		r.report(n.start(), "Not one action", "A formula has one action: \"exec\", \"script\" or \"echo\".")
		return Action{}
	}
	m := members[0]
	a := Action{Kind: ActionKind(m.key.Value), Range: m.key.Range}
	switch a.Kind {
	case ActionEcho:
		r.fields(m.value, "An echo action")
	case ActionExec:
		fields, _ := r.fields(m.value, "An exec action", "command!", "network")
		if command, there := fields["command"]; there {
			a.Command, _ = r.texts(command, "The command")
		}
		a.Network = r.network(fields)
	case ActionScript:
		fields, _ := r.fields(m.value, "A script action", "interpreter!", "contents!", "network")
		if interpreter, there := fields["interpreter"]; there {
			a.Interpreter, _ = r.text(interpreter, "The interpreter")
		}
		if contents, there := fields["contents"]; there {
			a.Contents, _ = r.texts(contents, "The script")
		}
		a.Network = r.network(fields)
	default:
		r.report(m.key.Range, "Unknown action", "A formula has no action %s.%s", quote(m.key.Value), formula.DidYouMean(m.key.Value, actions))
	}
	return a
}

func (r *reader) network(fields map[string]node) *bool {
	n, there := fields["network"]
	if !there {
		return nil
	}
	value, _ := r.boolean(n, "The attribute \"network\"")
	return &value
}

func (r *reader) gathers(n node) (list []Gather) {
	members, _ := r.object(n, "The list of outputs")
	for _, m := range members {
		g := Gather{Name: m.key}
		fields, _ := r.fields(m.value, "An output", "from!", "packtype", "filters")
		if from, there := fields["from"]; there {
			g.From, _ = r.text(from, "The place of an output")
		}
		if packtype, there := fields["packtype"]; there {
			g.Packtype, _ = r.text(packtype, "A packtype")
		}
		if filters, there := fields["filters"]; there {
			g.HasFilters, g.Filters = true, r.filters(filters)
		}
		list = append(list, g)
	}
	return list
}

func (r *reader) filters(n node) (list []Filter) {
	members, _ := r.object(n, "The list of filters")
	for _, m := range members {
		if value, ok := r.text(m.value, "The filter "+m.key.Value); ok {
			list = append(list, Filter{m.key, value})
		}
	}
	return list
}
