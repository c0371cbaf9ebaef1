package warpforge

import (
	"cmp"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/internal/base58"
)

// What begins every CID of warpforge's: version 1, codec dag-cbor, and as hash SHA-384
// of 48 bytes; github.com/multiformats/multicodec's table.
var cidPrefix = []byte{0x01, 0x71, 0x20, sha512.Size384}

// cidOf returns the id of a document given as strings, bools, lists and maps of these.
func cidOf(document any) string {
	sum := sha512.Sum384(appendCBOR(nil, document))
	return "z" + base58.Encode(append(slices.Clone(cidPrefix), sum[:]...)) // z: multibase's base58btc
}

// cidSHA512 is cidOf with SHA-512, as warpforge named plots once.
func cidSHA512(document any) string {
	sum := sha512.Sum512(appendCBOR(nil, document))
	return "z" + base58.Encode(append([]byte{0x01, 0x71, 0x13, sha512.Size}, sum[:]...))
}

// appendCBOR appends v as DAG-CBOR: lengths in the fewest bytes, the keys of maps
// sorted by length, then as bytes.
func appendCBOR(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(cborHead(b, 3, len(v)), v...)
	case bool:
		if v {
			return append(b, 0xf5)
		}
		return append(b, 0xf4)
	case []any:
		b = cborHead(b, 4, len(v))
		for _, item := range v {
			b = appendCBOR(b, item)
		}
		return b
	case map[string]any:
		b = cborHead(b, 5, len(v))
		keys := slices.SortedFunc(maps.Keys(v), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
		})
		for _, key := range keys {
			b = appendCBOR(appendCBOR(b, key), v[key])
		}
		return b
	}
	panic(fmt.Sprintf("no CBOR for a %T", v))
}

func cborHead(b []byte, major byte, n int) []byte {
	switch major <<= 5; {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
}

// A Bound is a formula of a document whose pipes lead somewhere: what warpforge would
// run, but for wares that are not known yet.
type Bound struct {
	Formula *Formula
	Inputs  []BoundInput // in the order written
}

// A BoundInput is an input at a port.
type BoundInput struct {
	Name    string // the port as written
	Port    string // the same as formula.Input has it, or "$NAME"
	Text    string // "literal:…" or "mount:…"; "" for a ware
	Filters []Filter
	Complex bool
}

// FormulaID is the id that warpforge gives the formula: a CID of its inputs, its action
// and its outputs. wares holds the ware id of every path that takes a ware.
func (b *Bound) FormulaID(wares map[string]string) string {
	inputs := map[string]any{}
	for _, in := range b.Inputs {
		text := in.Text
		if text == "" {
			text = "ware:" + wares[in.Port]
		}
		inputs[in.Name] = text
		if in.Complex {
			inputs[in.Name] = map[string]any{"basis": text, "filters": filterMap(in.Filters)}
		}
	}
	outputs := map[string]any{}
	for _, g := range b.Formula.Outputs {
		out := map[string]any{"from": g.From.Value}
		if g.Packtype.Range.Filename != "" {
			out["packtype"] = g.Packtype.Value
		}
		if g.HasFilters {
			out["filters"] = filterMap(g.Filters)
		}
		outputs[g.Name.Value] = out
	}
	return cidOf(map[string]any{"inputs": inputs, "action": b.Formula.Action.document(), "outputs": outputs})
}

func (a *Action) document() map[string]any {
	fields := map[string]any{}
	switch a.Kind {
	case ActionExec:
		fields["command"] = list(a.Command)
	case ActionScript:
		fields["interpreter"], fields["contents"] = a.Interpreter.Value, list(a.Contents)
	}
	if a.Network != nil {
		fields["network"] = *a.Network
	}
	return map[string]any{string(a.Kind): fields}
}

func list(texts []Text) []any {
	items := make([]any, len(texts))
	for i, t := range texts {
		items[i] = t.Value
	}
	return items
}

func filterMap(filters []Filter) map[string]any {
	m := map[string]any{}
	for _, f := range filters {
		m[f.Key.Value] = f.Value.Value
	}
	return m
}
