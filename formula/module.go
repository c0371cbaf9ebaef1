package formula

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxModules bounds how many module blocks a formula can come to: modules that
// call modules multiply.
const maxModules = 10_000

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

	variables map[string]*variable
	locals    map[string]*local
	wares     map[string]*wareBlock
	steps     map[string]*stepBlock
	outputs   map[string]*outputBlock
	calls     map[string]*moduleCall

	stepOrder   []*stepBlock // as written
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

// blockSchema says what a kind of block may hold.
type blockSchema struct {
	labels     int
	attributes []string
	required   []string
	blocks     []string
	open       bool // any attribute is allowed
}

var schemas = map[string]blockSchema{
	"variable": {labels: 1, attributes: []string{"type", "default", "description", "sensitive"}, blocks: []string{"validation"}},
	"locals":   {open: true},
	"ware": {labels: 1, attributes: []string{
		"builtin", "path", "include", "exclude", "url", "sha256", "strip", "id", "filters",
	}},
	"step": {labels: 1, attributes: []string{
		"inputs", "env", "exec", "script", "interpreter", "outputs", "for_each", "depends_on", "timeout", "cwd", "user",
	}},
	"output":     {labels: 1, attributes: []string{"value", "description"}, required: []string{"value"}},
	"module":     {labels: 1, attributes: []string{"source"}, required: []string{"source"}, open: true},
	"validation": {attributes: []string{"condition", "error_message"}, required: []string{"condition", "error_message"}},
}

var topLevel = []string{"variable", "locals", "ware", "step", "output", "module"}

// loadModule reads the formula file in rel and, below it, the modules it calls.
func (l *loader) loadModule(parent *module, call *moduleCall, rel string) *module {
	m := l.read(rel, call)
	if m == nil {
		return nil
	}
	m.parent, m.call = parent, call
	if call != nil {
		m.prefix = call.addr + "."
	}
	m.ctx = l.moduleContext(m)
	l.modules = append(l.modules, m)
	m.declare()
	for _, c := range sortedDecls(m.calls) {
		m.load(c)
	}
	return m
}

// load reads the module that c calls, if its source is one.
func (m *module) load(c *moduleCall) {
	attr := c.attr("source")
	if attr == nil {
		return
	}
	c.sourceRange = attr.Expr.Range()
	source, ok := literal(attr.Expr)
	if !ok {
		m.l.report(problem(c.sourceRange, c.around(), "Module source is not a literal",
			`A module's source is a plain string such as "./lib", so that modules can be read before anything is evaluated.`))
		return
	}
	if source != "." && source != ".." && !strings.HasPrefix(source, "./") && !strings.HasPrefix(source, "../") {
		m.l.report(problem(c.sourceRange, c.around(), "Unsupported module source",
			`A module is a directory of this formula and its source begins with "./" or "../"; %q does not.`, source))
		return
	}
	rel := path.Join(m.rel, source)
	for caller := m; caller != nil; caller = caller.parent {
		if m.l.sameDir(caller.rel, rel) {
			m.l.report(problem(c.sourceRange, c.around(), "Module contains itself",
				"%s calls the module in %q, which is %s itself: %s.", c.addr, source, moduleName(caller), m.chain(c, caller)))
			return
		}
	}
	if rel == ".." || strings.HasPrefix(rel, "../") {
		m.l.report(problem(c.sourceRange, c.around(), "Module outside the formula's directory",
			"The source %q leads out of the formula's directory. Move the module below it.", source))
		return
	}
	if len(m.l.modules) >= maxModules {
		m.l.report(problem(c.header(), c.around(), "Too many modules", "The formula comes to more than %d modules.", maxModules))
		return
	}
	if c.module = m.l.loadModule(m, c, rel); c.module != nil {
		c.giveArguments()
	}
}

// sameDir reports whether two names below the root module's directory are one
// directory, perhaps through a symlink.
func (l *loader) sameDir(a, b string) bool {
	if a == b {
		return true
	}
	infoA, errA := l.root.Stat(a)
	infoB, errB := l.root.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

func moduleName(m *module) string {
	if m.call == nil {
		return "the formula"
	}
	return m.call.addr
}

// chain writes the calls that lead from one module back to itself.
func (m *module) chain(c *moduleCall, from *module) string {
	path := []string{moduleName(from), c.addr}
	for inner := m; inner != from; inner = inner.parent {
		path = slices.Insert(path, 1, inner.call.addr)
	}
	return strings.Join(path, " → ") + " → " + moduleName(from)
}

// literal returns the string that expr is, if it is one without interpolation.
func literal(expr hclsyntax.Expression) (string, bool) {
	switch e := expr.(type) {
	case *hclsyntax.TemplateExpr:
		if !e.IsStringLiteral() {
			return "", false
		}
	case *hclsyntax.LiteralValueExpr, *hclsyntax.ObjectConsKeyExpr:
	default:
		return "", false
	}
	v, diags := expr.Value(nil)
	if diags.HasErrors() || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
		return "", false
	}
	return v.AsString(), true
}

// declare fills the module's maps from its file.
func (m *module) declare() {
	m.variables, m.locals = make(map[string]*variable), make(map[string]*local)
	m.wares, m.steps = make(map[string]*wareBlock), make(map[string]*stepBlock)
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

func asBlock(name string) string {
	if slices.Contains(topLevel, name) {
		return " Did you mean a block, without the equals sign?"
	}
	return ""
}

func aBlock(block *hclsyntax.Block) string {
	if block.Type == "output" {
		return "An output"
	}
	return "A " + block.Type
}

var validName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,127}$`)

const nameRule = "A name begins with a letter or an underscore, goes on with letters, digits, underscores and hyphens, and has at most 128 of them."

// checkLabels reports a wrong number of labels and names that are none.
func (m *module) checkLabels(block *hclsyntax.Block, schema blockSchema) bool {
	switch {
	case len(block.Labels) < schema.labels:
		m.l.report(problem(block.TypeRange, block.DefRange(), "Missing name",
			"%s block needs a name: %s \"NAME\" { … }.", aBlock(block), block.Type))
		return false
	case len(block.Labels) > schema.labels:
		m.l.report(problem(block.LabelRanges[schema.labels], block.DefRange(), "Too many labels",
			"%s block takes %s.", aBlock(block), []string{"no name", "one name"}[schema.labels]))
		return false
	case schema.labels == 1 && !validName.MatchString(block.Labels[0]):
		m.l.report(problem(block.LabelRanges[0], block.DefRange(), "Invalid name", "%q cannot name a %s. "+nameRule, block.Labels[0], block.Type))
		return false
	}
	return true
}

// checkBody reports attributes and blocks that do not belong into block, and those
// that are missing.
func (m *module) checkBody(block *hclsyntax.Block, schema blockSchema) {
	for name, attr := range block.Body.Attributes {
		if schema.open || slices.Contains(schema.attributes, name) {
			continue
		}
		hint := didYouMean(name, schema.attributes)
		if slices.Contains(schema.blocks, name) {
			hint = " Did you mean a block, without the equals sign?"
		}
		m.l.report(problem(attr.NameRange, block.Range(), "Unknown attribute", "%s block has no attribute %q.%s", aBlock(block), name, hint))
	}
	for _, name := range schema.required {
		if block.Body.Attributes[name] == nil {
			m.l.report(problem(block.DefRange(), block.Range(), "Missing attribute", "%s block needs the attribute %q.", aBlock(block), name))
		}
	}
	for _, inner := range block.Body.Blocks {
		if !slices.Contains(schema.blocks, inner.Type) {
			hint := didYouMean(inner.Type, schema.blocks)
			if slices.Contains(schema.attributes, inner.Type) {
				hint = " Did you mean the attribute, with an equals sign?"
			}
			m.l.report(problem(inner.TypeRange, block.Range(), "Unknown block", "%s block holds no block %q.%s", aBlock(block), inner.Type, hint))
			continue
		}
		if m.checkLabels(inner, schemas[inner.Type]) {
			m.checkBody(inner, schemas[inner.Type])
		}
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
	case "step":
		if s := (&stepBlock{decl: d}); add(m, m.steps, s) {
			s.keysNode, s.namesNode = s.node, s.node
			m.stepOrder = append(m.stepOrder, s)
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
