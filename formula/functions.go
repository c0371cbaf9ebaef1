package formula

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"iter"
	"maps"
	"net/url"
	"path"
	"slices"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	yaml "github.com/zclconf/go-cty-yaml"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// pure are the functions that depend on their arguments alone. There is no clock, no
// randomness and no environment: a formula means the same everywhere.
var pure = map[string]function.Function{
	// numbers
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "int": stdlib.IntFunc,
	"log": stdlib.LogFunc, "max": stdlib.MaxFunc, "min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc,
	"pow": stdlib.PowFunc, "signum": stdlib.SignumFunc,
	// strings
	"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc,
	"indent": stdlib.IndentFunc, "join": stdlib.JoinFunc, "lower": stdlib.LowerFunc, "regex": stdlib.RegexFunc,
	"regexall": stdlib.RegexAllFunc, "regexreplace": stdlib.RegexReplaceFunc, "replace": stdlib.ReplaceFunc,
	"split": stdlib.SplitFunc, "strlen": stdlib.StrlenFunc, "strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc,
	"title": stdlib.TitleFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc,
	"trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc,
	// collections
	"chunklist": stdlib.ChunklistFunc, "coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc,
	"compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc,
	"distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc,
	"hasindex": stdlib.HasIndexFunc, "index": stdlib.IndexFunc, "keys": stdlib.KeysFunc, "length": lengthFunc,
	"lookup": stdlib.LookupFunc, "merge": stdlib.MergeFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc,
	"setintersection": stdlib.SetIntersectionFunc, "setproduct": setProductFunc,
	"setsubtract": stdlib.SetSubtractFunc, "setunion": stdlib.SetUnionFunc, "slice": stdlib.SliceFunc,
	"sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,
	// conversion
	"tobool": stdlib.MakeToFunc(cty.Bool), "tolist": collectionFunc(cty.List, cty.ListVal),
	"tomap": mapFunc, "tonumber": stdlib.MakeToFunc(cty.Number),
	"toset": collectionFunc(cty.Set, cty.SetVal), "tostring": stdlib.MakeToFunc(cty.String),
	"can": tryfunc.CanFunc, "try": tryfunc.TryFunc,
	// encoding
	"base64decode": base64DecodeFunc, "base64encode": base64EncodeFunc, "csvdecode": stdlib.CSVDecodeFunc,
	"jsondecode": jsonDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc, "urlencode": urlEncodeFunc,
	"yamldecode": yamlDecodeFunc, "yamlencode": yaml.YAMLEncodeFunc,
	// hashes
	"md5": hashFunc(md5.New), "sha1": hashFunc(sha1.New), "sha256": hashFunc(sha256.New), "sha512": hashFunc(sha512.New),
	// dates, as values
	"formatdate": stdlib.FormatDateFunc, "timeadd": stdlib.TimeAddFunc,
	// paths, as text
	"basename": textFunc("path", path.Base), "dirname": textFunc("path", path.Dir),
}

// Functions returns the names of the functions a formula can call, sorted.
func Functions() []string {
	return slices.Sorted(maps.Keys((&module{l: &loader{}}).functions()))
}

// moduleContext returns the functions that expressions of m can call.
func (l *loader) moduleContext(m *module) *hcl.EvalContext {
	return &hcl.EvalContext{Functions: m.functions()}
}

func (m *module) functions() map[string]function.Function {
	all := maps.Clone(pure)
	maps.Copy(all, m.fileFunctions())
	all["templatefile"] = m.templateFunc(all)
	return all
}

// textFunc makes a function of one string.
func textFunc(param string, do func(string) string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: param, Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.StringVal(do(args[0].AsString())), nil
		},
	})
}

func hashFunc(newHash func() hash.Hash) function.Function {
	return textFunc("text", func(text string) string { return hexSum(newHash(), []byte(text)) })
}

func hexSum(h hash.Hash, data []byte) string {
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

var (
	base64EncodeFunc = textFunc("text", func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) })
	urlEncodeFunc    = textFunc("text", url.QueryEscape)
)

var base64DecodeFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "text", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		data, err := base64.StdEncoding.DecodeString(args[0].AsString())
		if err != nil {
			return cty.NilVal, function.NewArgErrorf(0, "it is not base64")
		}
		if !utf8.Valid(data) {
			return cty.NilVal, function.NewArgErrorf(0, "what it encodes is not UTF-8 text")
		}
		return cty.StringVal(string(data)), nil
	},
})

// lengthFunc counts the elements of a collection or the characters of a string.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true, AllowUnknown: true}},
	Type: func(args []cty.Value) (cty.Type, error) {
		ty := args[0].Type()
		if ty == cty.String || ty == cty.DynamicPseudoType || ty.IsCollectionType() || ty.IsTupleType() || ty.IsObjectType() {
			return cty.Number, nil
		}
		return cty.Number, function.NewArgErrorf(0, "it must be a string or a collection")
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		switch v := args[0]; {
		case v.Type() == cty.DynamicPseudoType:
			return cty.UnknownVal(cty.Number), nil
		case v.Type() == cty.String:
			return stdlib.Strlen(v)
		case v.Type().IsObjectType():
			return cty.NumberIntVal(int64(len(v.Type().AttributeTypes()))), nil
		default:
			return v.Length(), nil
		}
	},
})

var errNotText = errors.New("it is not UTF-8 text")

func toStrings(texts []string) []cty.Value {
	values := make([]cty.Value, len(texts))
	for i, text := range texts {
		values[i] = cty.StringVal(text)
	}
	return values
}

// asObject turns the variables of a template into names and values.
func asObject(v cty.Value) (map[string]cty.Value, error) {
	if v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return nil, errors.New("it must be an object")
	}
	if !v.Type().IsObjectType() {
		object, err := convert.Convert(v, cty.DynamicPseudoType)
		if err != nil {
			return nil, err
		}
		v = object
	}
	return v.AsValueMap(), nil
}

// collectionFunc is stdlib.MakeToFunc for lists and sets, but takes a tuple whose
// elements have one type already without comparing each with every other.
func collectionFunc(collection func(cty.Type) cty.Type, make func([]cty.Value) cty.Value) function.Function {
	return quickFunc(stdlib.MakeToFunc(collection(cty.DynamicPseudoType)), func(v cty.Value) (cty.Value, bool) {
		if !v.Type().IsTupleType() || v.LengthInt() == 0 || !sameTypes(slices.Values(v.Type().TupleElementTypes())) {
			return cty.NilVal, false
		}
		return make(v.AsValueSlice()), true
	})
}

// mapFunc is the same for objects.
var mapFunc = quickFunc(stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)), func(v cty.Value) (cty.Value, bool) {
	if !v.Type().IsObjectType() || v.LengthInt() == 0 || !sameTypes(maps.Values(v.Type().AttributeTypes())) {
		return cty.NilVal, false
	}
	return cty.MapVal(v.AsValueMap()), true
})

// quickFunc makes a function of one value that tries quick before slow.
func quickFunc(slow function.Function, quick func(cty.Value) (cty.Value, bool)) function.Function {
	try := func(v cty.Value) (cty.Value, error) {
		if v.IsWhollyKnown() && !v.IsNull() {
			if v, ok := quick(v); ok {
				return v, nil
			}
		}
		return slow.Call([]cty.Value{v})
	}
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "v", Type: cty.DynamicPseudoType, AllowNull: true, AllowMarked: true, AllowDynamicType: true}},
		Type: func(args []cty.Value) (cty.Type, error) {
			plain, _ := args[0].UnmarkDeep()
			v, err := try(plain)
			return v.Type(), err
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if args[0].ContainsMarked() {
				return slow.Call(args)
			}
			return try(args[0])
		},
	})
}

func sameTypes(types iter.Seq[cty.Type]) bool {
	first := cty.NilType
	for ty := range types {
		if first == cty.NilType {
			first = ty
		}
		if !ty.Equals(first) || ty == cty.DynamicPseudoType {
			return false
		}
	}
	return true
}

// maxProduct bounds what setproduct makes: a few sets come to more than fits in memory.
const maxProduct = 1_000_000

var setProductFunc = function.New(&function.Spec{
	VarParam: &function.Parameter{Name: "sets", Type: cty.DynamicPseudoType, AllowDynamicType: true},
	Type: func(args []cty.Value) (cty.Type, error) {
		product := 1
		for _, arg := range args {
			if !arg.IsKnown() || !arg.CanIterateElements() || arg.Type().IsObjectType() {
				continue
			}
			if product *= arg.LengthInt(); product > maxProduct {
				return cty.NilType, fmt.Errorf("the product has more than %d elements", maxProduct)
			}
		}
		return stdlib.SetProductFunc.ReturnTypeForValues(args)
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return stdlib.SetProductFunc.Call(args) },
})
