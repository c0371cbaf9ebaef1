package formula

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/zclconf/go-cty/cty"
)

// wareRef is what a ware value holds in an expression. It is no string and no
// JSON: what a ware's id is becomes known only when the formula has run.
type wareRef struct{ Ref }

// MarshalJSON refuses, so that jsonencode does.
func (wareRef) MarshalJSON() ([]byte, error) {
	return nil, errors.New(errNoText)
}

// wareType is the type of `ware.NAME` and `step.NAME.OUTPUT` in expressions. Two
// such values are equal when they name the same thing.
var wareType = cty.CapsuleWithOps("ware", reflect.TypeFor[wareRef](), &cty.CapsuleOps{
	GoString:     func(v any) string { return fmt.Sprintf("wareValue(%#v)", v.(*wareRef).Ref) },
	TypeGoString: func(reflect.Type) string { return "wareType" },
	RawEquals:    func(a, b any) bool { return a.(*wareRef).Ref == b.(*wareRef).Ref },
	HashKey:      func(v any) string { return v.(*wareRef).String() },
})

func wareValue(r Ref) cty.Value { return cty.CapsuleVal(wareType, &wareRef{r}) }

func refOf(v cty.Value) Ref { return v.EncapsulatedValue().(*wareRef).Ref }

// String writes r the way a formula does: "ware.base", "step.build.lua".
func (r Ref) String() string {
	if r.Ware != "" {
		return r.Ware
	}
	return r.Step + "." + r.Output
}

// errNoText is what an encoder says about a ware.
const errNoText = "a ware has no text form"

type mark string

// sensitive marks values that must not be shown.
const sensitive = mark("sensitive")

// describe names the kind of a value for "this is X" sentences, never the value.
func describe(v cty.Value) string {
	switch ty := v.Type(); {
	case v.IsNull():
		return "null"
	case ty.IsObjectType() || ty.IsMapType():
		return "an object"
	case ty.IsTupleType() || ty.IsListType() || ty.IsSetType():
		return "a list"
	case ty == wareType:
		return "a ware"
	default:
		return "a " + ty.FriendlyName()
	}
}
