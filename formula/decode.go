package formula

import (
	"fmt"
	"strings"

	yaml "github.com/zclconf/go-cty-yaml"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// Decoders recurse into what they read, and a stack that overflows takes the process
// with it, so texts that nest deeper than maxNesting are refused first.
var (
	jsonDecodeFunc = guarded(stdlib.JSONDecodeFunc, checkJSONNesting)
	yamlDecodeFunc = guarded(yaml.YAMLDecodeFunc, checkYAMLNesting)
)

// guarded is decode, a function of one string, with a check of that before it.
func guarded(decode function.Function, check func(text string) error) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}},
		Type: func(args []cty.Value) (cty.Type, error) {
			if !args[0].IsKnown() {
				return cty.DynamicPseudoType, nil
			}
			if err := check(args[0].AsString()); err != nil {
				return cty.NilType, function.NewArgError(0, err)
			}
			return decode.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return decode.Call(args) },
	})
}

var errTooDeep = fmt.Errorf("it nests more than %d deep", maxNesting)

func checkJSONNesting(text string) error {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			inString = !inString
		case inString && c == '\\':
			i++
		case inString:
		case c == '[' || c == '{':
			if depth++; depth > maxNesting {
				return errTooDeep
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}

// checkYAMLNesting counts open brackets, wherever they stand, and how far lines are
// indented: a level takes a column at least.
func checkYAMLNesting(text string) error {
	depth := 0
	for line := range strings.Lines(text) {
		if indent := len(line) - len(strings.TrimLeft(line, " \t-?:")); indent > maxNesting {
			return errTooDeep
		}
		for _, c := range []byte(line) {
			switch c {
			case '[', '{':
				if depth++; depth > maxNesting {
					return errTooDeep
				}
			case ']', '}':
				depth = max(0, depth-1)
			}
		}
	}
	return nil
}
