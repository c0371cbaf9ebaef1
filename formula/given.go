package formula

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
)

// EnvPrefix begins the names of environment variables that set a formula's variables.
const EnvPrefix = "KILN_VAR_"

// given is a value for a variable, from outside its file.
type given struct {
	text  string         // --var and the environment
	name  string         // of where text comes from, in ranges
	expr  hcl.Expression // variable files and module arguments
	scope *module        // where expr is evaluated; nil: where nothing can be referred to
	at    hcl.Range      // of expr
}

// giveVariables hands the options' values to the root module's variables.
func (l *loader) giveVariables(root *module) {
	for _, entry := range l.options.Env {
		name, value, _ := strings.Cut(entry, "=")
		if v := root.variables[strings.TrimPrefix(name, EnvPrefix)]; v != nil && strings.HasPrefix(name, EnvPrefix) {
			v.given = &given{text: value, name: name}
		}
	}
	for _, file := range l.options.VarFiles {
		l.giveFile(root, file)
	}
	for name, value := range l.options.Vars {
		v := root.variables[name]
		if v == nil {
			l.fail("Unknown variable", "--var %s sets a variable that the formula does not declare.%s", name, didYouMean(name, names(root.variables)))
			continue
		}
		v.given = &given{text: value, name: "--var " + name}
	}
}

// giveFile reads a file of variables. It is named by the person, not by the formula,
// so it may lie anywhere.
func (l *loader) giveFile(root *module, file string) {
	src, err := readAnywhere(file)
	if err != nil {
		l.fail("Variable file cannot be read", "%s cannot be read: %s.", file, err)
		return
	}
	parsed, diags := parseVariables(src, file)
	l.sources[file] = parsed
	l.report(diags...)
	if diags.HasErrors() {
		return
	}
	attrs, diags := parsed.Body.JustAttributes()
	if body, ok := parsed.Body.(*hclsyntax.Body); !ok {
		l.report(diags...)
	} else {
		for _, block := range body.Blocks {
			l.report(problem(block.TypeRange, block.DefRange(), "Unknown block", "A variable file holds lines NAME = VALUE, and %q is a block.", block.Type))
		}
	}
	for name, attr := range attrs {
		v := root.variables[name]
		if v == nil {
			l.report(problem(attr.NameRange, attr.Range, "Unknown variable",
				"The formula does not declare a variable %q.%s", name, didYouMean(name, names(root.variables))))
			continue
		}
		v.given = &given{expr: attr.Expr, at: attr.Expr.Range()}
	}
}

// parseVariables parses a variable file, as JSON when its name ends like that.
func parseVariables(src []byte, file string) (*hcl.File, hcl.Diagnostics) {
	if filepath.Ext(file) != ".json" {
		parsed, _, diags := parse(src, file)
		return parsed, diags
	}
	parsed := &hcl.File{Body: hcl.EmptyBody(), Bytes: src}
	if checkJSONNesting(string(src)) != nil {
		return parsed, hcl.Diagnostics{problem(rangeOfByte(src, 0, file), hcl.Range{},
			"Nested too deeply", "More than %d brackets nest in this file.", maxNesting)}
	}
	read, diags := hcljson.Parse(src, file)
	if read != nil {
		parsed = read
	}
	return parsed, diags
}

func readAnywhere(file string) ([]byte, error) {
	dir, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return nil, plainError(err)
	}
	defer dir.Close()
	src, err := readRegular(dir, filepath.Base(file), maxFormula)
	if err == errEscapes { // a symlink
		if target, linkErr := filepath.EvalSymlinks(file); linkErr == nil && target != file {
			return readAnywhere(target)
		}
	}
	return src, err
}

// giveArguments hands a module block's attributes to the variables of the module.
func (c *moduleCall) giveArguments() {
	for name, attr := range c.block.Body.Attributes {
		if name == "source" {
			continue
		}
		v := c.module.variables[name]
		if v == nil {
			c.m.l.report(problem(attr.NameRange, c.around(), "Unknown module argument",
				"The module in %q declares no variable %q.%s", c.module.rel, name, didYouMean(name, names(c.module.variables))))
			continue
		}
		v.given = &given{expr: attr.Expr, scope: c.m, at: attr.Expr.Range()}
	}
}

func (m *module) givenValue(v *variable, ty cty.Type, defaults *typeexpr.Defaults, hidden bool) cty.Value {
	g := v.given
	switch {
	case g.expr == nil:
		return m.givenText(v, ty, defaults, hidden)
	case g.scope != nil:
		around := m.call.around()
		return m.convert(v, g.scope.value(around, g.expr.(hclsyntax.Expression)), ty, defaults, g.at, "The argument")
	}
	value, diags := g.expr.Value(nil)
	if diags.HasErrors() || !value.IsWhollyKnown() {
		m.l.report(problem(g.at, hcl.Range{}, "Invalid variable value",
			"The value of %q in a variable file is a plain value, without references and functions.", v.name))
		return cty.DynamicVal
	}
	return m.convert(v, value, ty, defaults, g.at, "The value")
}

// givenText reads a value from the command line or the environment: as it stands
// where the type is a string, number, bool or not said, else as an expression.
func (m *module) givenText(v *variable, ty cty.Type, defaults *typeexpr.Defaults, hidden bool) cty.Value {
	g := v.given
	value := cty.StringVal(g.text)
	if d := checkText([]byte(g.text), g.name); d != nil {
		m.l.report(problem(v.header(), v.around(), d.Summary, "The value from %s is not UTF-8 text.", g.name))
		return cty.DynamicVal
	}
	if !ty.IsPrimitiveType() && ty != cty.DynamicPseudoType {
		expr, problem := parseValue(g.text, g.name)
		if problem == "" {
			var diags hcl.Diagnostics
			if value, diags = expr.Value(nil); diags.HasErrors() {
				problem = diags[0].Summary + "; " + diags[0].Detail
			}
		}
		if problem != "" {
			if hidden {
				problem = "it is not shown, because the variable is sensitive."
			}
			m.l.fail("Invalid variable value", "The value from %s is not an expression for %s: %s", g.name, ty.FriendlyName(), problem)
			return cty.DynamicVal
		}
	}
	return m.convert(v, value, ty, defaults, v.header(), "The value from "+g.name)
}

func parseValue(text, name string) (hclsyntax.Expression, string) {
	if d := checkNesting([]byte(text), name, hclsyntax.LexExpression); d != nil {
		return nil, d.Detail
	}
	expr, diags := hclsyntax.ParseExpression([]byte(text), name, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags[0].Summary + ". " + diags[0].Detail
	}
	return expr, ""
}
