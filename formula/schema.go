package formula

import (
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

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
		"git", "ref", "subdir", "submodules", "oci", "platform", "text", "catalog", "addresses",
	}},
	"step": {labels: 1, attributes: []string{
		"inputs", "env", "exec", "script", "interpreter", "outputs", "for_each", "depends_on", "timeout", "cwd", "user",
		"network", "on_error", "echo", "resources", "runner",
	}},
	"warehouse": {labels: 1, attributes: []string{"url"}, required: []string{"url"}},
	"function": {labels: 1, attributes: []string{
		"inputs", "env", "exec", "schema_in", "schema_out", "timeout", "memory", "cwd", "user",
	}, required: []string{"inputs", "exec"}},
	"call": {labels: 1, attributes: []string{
		"function", "input", "inputs", "for_each", "depends_on",
	}, required: []string{"function", "input"}},
	"output":     {labels: 1, attributes: []string{"value", "description"}, required: []string{"value"}, blocks: []string{"image"}},
	"image":      {attributes: imageAttributes},
	"module":     {labels: 1, attributes: []string{"source"}, required: []string{"source"}, open: true},
	"validation": {attributes: []string{"condition", "error_message"}, required: []string{"condition", "error_message"}},
}

var topLevel = []string{"variable", "locals", "ware", "step", "function", "call", "output", "module", "warehouse"}

func asBlock(name string) string {
	if slices.Contains(topLevel, name) {
		return " Did you mean a block, without the equals sign?"
	}
	return ""
}

func aBlock(block *hclsyntax.Block) string {
	if block.Type == "output" || block.Type == "image" {
		return "An " + block.Type
	}
	return "A " + block.Type
}

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
	case schema.labels == 1 && !validName(block.Labels[0]):
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
