package formula

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// module is one formula file in one place: the root, or what a module block calls.
type module struct {
	l      *loader
	prefix string // "" or "module.x."
	rel    string // directory, relative to the root's, slash-separated
	dir    string // absolute
	file   string // as in ranges
	parent *module
	call   *moduleCall // nil for the root
	body   *hclsyntax.Body
	ctx    *hcl.EvalContext // functions

	variables  map[string]*variable
	locals     map[string]*local
	wares      map[string]*wareBlock
	warehouses map[string]*warehouseBlock
	steps      map[string]*stepBlock
	callable   map[string]*functionBlock
	asked      map[string]*stepBlock // call blocks
	outputs    map[string]*outputBlock
	calls      map[string]*moduleCall

	stepOrder   []*stepBlock // as written
	askedOrder  []*stepBlock
	outputOrder []*outputBlock
}

// decl is what every named block has.
type decl struct {
	m     *module
	name  string
	addr  string // with the module's prefix
	block *hclsyntax.Block
	node  node
}

func (d *decl) header() hcl.Range { return d.block.DefRange() }

func (d *decl) around() hcl.Range { return d.block.Range() }

func (d *decl) attr(name string) *hclsyntax.Attribute { return d.block.Body.Attributes[name] }

type local struct {
	decl
	attribute *hclsyntax.Attribute
}

type outputBlock struct{ decl }

type moduleCall struct {
	decl
	sourceRange hcl.Range
	module      *module // nil when it could not be read
}

// declare fills the module's maps from its file.
func (m *module) declare() {
	m.variables, m.locals = make(map[string]*variable), make(map[string]*local)
	m.wares, m.steps = make(map[string]*wareBlock), make(map[string]*stepBlock)
	m.warehouses = make(map[string]*warehouseBlock)
	m.callable, m.asked = make(map[string]*functionBlock), make(map[string]*stepBlock)
	m.outputs, m.calls = make(map[string]*outputBlock), make(map[string]*moduleCall)
	for _, attr := range m.body.Attributes {
		m.l.report(problem(attr.NameRange, attr.SrcRange, "Unknown attribute",
			"A formula file holds blocks, and %q is an attribute. Named values belong into a locals block.%s", attr.Name, asBlock(attr.Name)))
	}
	for _, block := range m.body.Blocks {
		schema, known := schemas[block.Type]
		if !known || !slices.Contains(topLevel, block.Type) {
			m.l.report(problem(block.TypeRange, block.DefRange(), "Unknown block",
				"A formula has no block %q.%s", block.Type, didYouMean(block.Type, topLevel)))
			continue
		}
		if !m.checkLabels(block, schema) {
			continue
		}
		m.checkBody(block, schema)
		m.declareBlock(block)
	}
}

// declareBlock adds block to the module, once for each name.
func (m *module) declareBlock(block *hclsyntax.Block) {
	if block.Type == "locals" {
		m.declareLocals(block)
		return
	}
	name := block.Labels[0]
	address := map[string]string{"variable": "var."}[block.Type]
	if address == "" {
		address = block.Type + "."
	}
	d := decl{m: m, name: name, addr: m.prefix + address + name, block: block}
	d.node = node{addr: d.addr, at: d.header(), around: d.around()}
	switch block.Type {
	case "variable":
		add(m, m.variables, &variable{decl: d})
	case "ware":
		add(m, m.wares, &wareBlock{decl: d})
	case "warehouse":
		add(m, m.warehouses, &warehouseBlock{decl: d})
	case "step":
		if s := (&stepBlock{decl: d}); add(m, m.steps, s) {
			s.keysNode, s.namesNode = s.node, s.node
			m.stepOrder = append(m.stepOrder, s)
		}
	case "function":
		add(m, m.callable, &functionBlock{stepBlock: stepBlock{decl: d}})
	case "call":
		if s := (&stepBlock{decl: d}); add(m, m.asked, s) {
			s.keysNode, s.namesNode = s.node, s.node
			m.askedOrder = append(m.askedOrder, s)
		}
	case "output":
		if o := (&outputBlock{decl: d}); add(m, m.outputs, o) {
			m.outputOrder = append(m.outputOrder, o)
		}
	case "module":
		add(m, m.calls, &moduleCall{decl: d})
	}
}

func (m *module) declareLocals(block *hclsyntax.Block) {
	for _, attr := range block.Body.Attributes {
		d := decl{m: m, name: attr.Name, addr: m.prefix + "local." + attr.Name, block: block}
		d.node = node{addr: d.addr, at: attr.NameRange, around: attr.SrcRange}
		add(m, m.locals, &local{decl: d, attribute: attr})
	}
}

func (d *decl) get() *decl { return d }

type declared interface{ get() *decl }

// add puts d into its map, or reports that the name is taken.
func add[T declared](m *module, to map[string]T, d T) bool {
	first, taken := to[d.get().name]
	if !taken {
		to[d.get().name] = d
		return true
	}
	at, before := d.get().node.at, first.get().node.at
	if at.Start.Byte < before.Start.Byte { // attributes of one locals block come in no order
		at, before = before, at
	}
	m.l.report(problem(at, d.get().around(), "Duplicate name",
		"%s is already defined at %s, line %d. Names are unique within a file.", d.get().addr, before.Filename, before.Start.Line))
	return false
}

func sortedDecls[T declared](decls map[string]T) []T {
	sorted := make([]T, 0, len(decls))
	for _, d := range decls {
		sorted = append(sorted, d)
	}
	slices.SortFunc(sorted, func(a, b T) int { return strings.Compare(a.get().addr, b.get().addr) })
	return sorted
}

func names[T any](decls map[string]T) []string {
	list := make([]string, 0, len(decls))
	for name := range decls {
		list = append(list, name)
	}
	return list
}
