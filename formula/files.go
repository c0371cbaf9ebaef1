package formula

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// fileFunctions are the functions that read files. Paths are relative to the module's
// directory and stay within the root module's, symlinks included.
func (m *module) fileFunctions() map[string]function.Function {
	return map[string]function.Function{
		"file":       m.fileFunc(cty.String, m.fileText),
		"fileexists": m.fileFunc(cty.Bool, m.fileExists),
		"filesha256": m.fileFunc(cty.String, m.fileSHA256),
		"fileset":    m.filesetFunc(),
	}
}

// fileFunc makes a function of one path.
func (m *module) fileFunc(result cty.Type, do func(name string) (cty.Value, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(result),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			name, err := m.inside(args[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			v, err := do(name)
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "%q cannot be read: %w", args[0].AsString(), err)
			}
			return v, nil
		},
	})
}

// inside turns a path as written into one relative to the root module's directory.
func (m *module) inside(name string) (string, error) {
	if path.IsAbs(name) {
		return "", fmt.Errorf("%q is an absolute path, and files are named relative to the formula's directory", name)
	}
	rel := path.Join(m.rel, name)
	if rel == ".." || strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("%q: %w", name, errEscapes)
	}
	return rel, nil
}

func (m *module) fileText(name string) (cty.Value, error) {
	data, err := readRegular(m.l.root, name, maxFileSize)
	if err != nil {
		return cty.NilVal, err
	}
	if !utf8.Valid(data) {
		return cty.NilVal, errNotText
	}
	return cty.StringVal(string(data)), nil
}

func (m *module) fileSHA256(name string) (cty.Value, error) {
	data, err := readRegular(m.l.root, name, maxFileSize)
	if err != nil {
		return cty.NilVal, err
	}
	return cty.StringVal(hexSum(sha256.New(), data)), nil
}

func (m *module) fileExists(name string) (cty.Value, error) {
	info, err := m.l.root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return cty.False, nil
	}
	if err != nil {
		return cty.NilVal, plainError(err)
	}
	return cty.BoolVal(info.Mode().IsRegular()), nil
}

// filesetFunc makes fileset(dir, pattern): the files below dir that match, relative to
// it. Symlinks to directories are not followed.
func (m *module) filesetFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "pattern", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Set(cty.String)),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			dir, err := m.inside(args[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			names, err := m.glob(dir, args[1].AsString())
			switch {
			case errors.Is(err, errBadPattern), errors.Is(err, errLongPattern):
				return cty.NilVal, function.NewArgError(1, err)
			case err != nil:
				return cty.NilVal, function.NewArgErrorf(0, "%q cannot be read: %w", args[0].AsString(), plainError(err))
			case len(names) == 0:
				return cty.SetValEmpty(cty.String), nil
			}
			return cty.SetVal(toStrings(names)), nil
		},
	})
}

// Limits on a pattern: every pair of braces multiplies the work.
const (
	maxBraces  = 8
	maxPattern = 4096 // bytes
)

var errLongPattern = fmt.Errorf("a pattern has at most %d pairs of braces and %d bytes", maxBraces, maxPattern)

var errBadPattern = errors.New("a bracket or a brace is not closed, or the pattern leaves the directory")

func (m *module) glob(dir, pattern string) ([]string, error) {
	if strings.Count(pattern, "{") > maxBraces || len(pattern) > maxPattern {
		return nil, errLongPattern
	}
	if !doublestar.ValidatePattern(pattern) || path.IsAbs(pattern) || slices.Contains(strings.Split(pattern, "/"), "..") {
		return nil, errBadPattern
	}
	if info, err := m.l.root.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, errors.New("it is not a directory")
	}
	below, err := fs.Sub(m.l.root.FS(), dir)
	if err != nil {
		return nil, err
	}
	names, err := doublestar.Glob(below, pattern, doublestar.WithFilesOnly(), doublestar.WithNoFollow())
	if err == nil && slices.ContainsFunc(names, func(n string) bool { return !utf8.ValidString(n) }) {
		err = errors.New("a file's name is not UTF-8")
	}
	return names, err
}

// templateFunc makes templatefile(path, vars): the text of a file with ${…} and %{…}
// evaluated, where vars are the only names.
func (m *module) templateFunc(functions map[string]function.Function) function.Function {
	render := func(args []cty.Value) (cty.Value, error) {
		expr, err := m.template(args[0].AsString())
		if err != nil {
			return cty.NilVal, function.NewArgError(0, err)
		}
		vars, err := asObject(args[1])
		if err != nil {
			return cty.NilVal, function.NewArgError(1, err)
		}
		for _, t := range expr.Variables() {
			if _, ok := vars[t.RootName()]; !ok {
				return cty.NilVal, function.NewArgErrorf(1, "the template uses %q at line %d, which is not among them", t.RootName(), t.SourceRange().Start.Line)
			}
		}
		inner := make(map[string]function.Function, len(functions))
		for name, f := range functions {
			if name != "templatefile" {
				inner[name] = f
			}
		}
		v, diags := expr.Value(&hcl.EvalContext{Variables: vars, Functions: inner})
		if diags.HasErrors() {
			return cty.NilVal, function.NewArgErrorf(0, "%w", diagError(diags[0]))
		}
		return v, nil
	}
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "vars", Type: cty.DynamicPseudoType}},
		Type: func(args []cty.Value) (cty.Type, error) {
			if !args[0].IsKnown() || !args[1].IsWhollyKnown() {
				return cty.DynamicPseudoType, nil
			}
			v, err := render(args)
			if err != nil {
				return cty.NilType, err
			}
			return v.Type(), nil
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return render(args) },
	})
}

// template reads and parses a template file.
func (m *module) template(written string) (hclsyntax.Expression, error) {
	name, err := m.inside(written)
	if err != nil {
		return nil, err
	}
	src, err := readRegular(m.l.root, name, maxFormula)
	if err == nil && !utf8.Valid(src) {
		err = errNotText
	}
	if err != nil {
		return nil, fmt.Errorf("%q cannot be read: %w", written, err)
	}
	if d := checkNesting(src, written, hclsyntax.LexTemplate); d != nil {
		return nil, diagError(d)
	}
	expr, diags := hclsyntax.ParseTemplate(src, written, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diagError(diags[0])
	}
	return expr, nil
}

// diagError makes an error of a diagnostic about a template.
func diagError(d *hcl.Diagnostic) error {
	return fmt.Errorf("line %d: %s: %s", d.Subject.Start.Line, strings.ToLower(d.Summary), strings.TrimSuffix(d.Detail, "."))
}
