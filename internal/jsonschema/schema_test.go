package jsonschema

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/jsonschema/quick"
)

func compile(t testing.TB, source string) *Schema {
	t.Helper()
	s, err := Compile([]byte(source))
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return s
}

func TestSchemasThatAreRefused(t *testing.T) {
	for source, want := range map[string]string{
		`{"type": "strin"}`:                               "/type",
		`{"properties": 1}`:                               "/properties",
		`{"pattern": "("}`:                                "does not compile",
		`{"$ref": "https://example.com/x.json"}`:          "https://example.com/x.json is outside the schema",
		`{"$ref": "file:///etc/passwd"}`:                  "is outside the schema",
		`{"$ref": "other.json"}`:                          "is outside the schema",
		`{"$schema": "https://example.com/draft"}`:        "is outside the schema",
		`{"$ref": "#/$defs/missing"}`:                     "missing",
		`{"type": "string"} {}`:                           "comes more",
		`{"type": `:                                       "ends in the middle",
		``:                                                "no JSON value",
		`{"minimum": 1e99999999999}`:                      "exponent",
		"{\"title\": \"\xff\"}":                           "byte 11 is not valid UTF-8",
		`{"minimum": "1"}`:                                "/minimum",
		`{"required": ["a", "a"]}`:                        "/required",
		`{"minimum": ` + strings.Repeat("9", 20000) + `}`: "digits",
	} {
		if _, err := Compile([]byte(source)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v; want %q", source, err, want)
		}
	}
}

func TestRefLoopsEnd(t *testing.T) {
	for _, source := range []string{
		`{"$ref": "#"}`, `{"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}`, `{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}`,
	} {
		s, err := Compile([]byte(source))
		if err == nil {
			err = s.Validate(1)
		}
		if err == nil {
			t.Errorf("%s: no error", source)
		}
	}
	tree := compile(t, `{"type": "object", "properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false}`)
	type list struct {
		N    int   `json:"n"`
		Next *list `json:"next,omitempty"`
	}
	if err := tree.Validate(list{1, &list{2, nil}}); err != nil {
		t.Error(err)
	}
	if verdict, _ := tree.quick.Check(list{1, &list{2, nil}}); verdict != quick.Valid {
		t.Error("a schema that refers to itself is checked the long way")
	}
}

func TestViolationsNameThePlaces(t *testing.T) {
	s := compile(t, `{"type": "object", "properties": {"a/b": {"type": "array", "items": {"type": "integer", "minimum": 3}}}, "required": ["x"]}`)
	err := s.Validate(map[string]any{"a/b": []any{5, 1, "s"}})
	var v Violations
	if !errors.As(err, &v) {
		t.Fatalf("%T %v", err, err)
	}
	text := fmt.Sprintf("%+v", []Violation(v))
	for _, want := range []string{"Pointer:/a~1b/1", "/items/minimum", "Pointer:/a~1b/2", "missing property 'x'", "want integer"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
}

func TestNumbersBeyondFloats(t *testing.T) {
	s := compile(t, `{"type": "integer", "maximum": 9007199254740993}`)
	for text, ok := range map[string]bool{
		"9007199254740993": true, "9007199254740992": true, "9007199254740994": false, "1e400": false, "-1e400": true, "0.5": false, "2.0": true,
		"9007199254740993.5": false, "123456789012345678901234567890": false, "1e999999999": false,
	} {
		v, err := Decode([]byte(text))
		if err == nil {
			err = s.ValidateDecoded(v)
		}
		if (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := s.Validate(uint64(9007199254740993)); err != nil {
		t.Error(err)
	}
	if err := s.Validate(int64(9007199254740994)); err == nil {
		t.Error("an integer above the maximum is accepted")
	}
	if err := s.Validate(math.NaN()); err == nil {
		t.Error("NaN is accepted")
	}
}

// What quick says must be what the complete validator says.
func TestQuickAgrees(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	sure, n := 0, 20000
	for range n {
		schema := randomSchema(r, 3)
		source, _ := json.Marshal(schema)
		s, err := Compile(source)
		if err != nil {
			continue
		}
		v := randomValue(r, 3)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		want := quick.Valid
		if s.validate(decoded) != nil {
			want = quick.Invalid
		}
		for _, form := range []any{v, decoded} {
			got, problem := s.quick.Check(form)
			if got != quick.Unsure {
				sure++
			}
			if got != quick.Unsure && got != want {
				t.Fatalf("seed %d: schema %s, value %s (%T): quick says %v (%v), the validator %v", seed, source, text, form, got, problem, want)
			}
		}
	}
	if sure < n {
		t.Errorf("quick was sure of %d of %d only", sure, 2*n)
	}
}

type sample struct {
	A int            `json:"a"`
	B *string        `json:"b,omitempty"`
	C []float64      `json:"c"`
	D map[string]any `json:"d,omitempty"`
	E float32
	F *sample `json:"f,omitempty"`
	g int
	H string `json:"-"`
}

func randomValue(r *rand.Rand, depth int) any {
	n := 12
	if depth == 0 {
		n = 8
	}
	switch r.IntN(n) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return r.IntN(5) - 2
	case 3:
		return float64(r.IntN(9)-4) / 2
	case 4:
		return []string{"", "a", "ab", "b", "日本"}[r.IntN(5)]
	case 5:
		return json.Number([]string{"0", "1", "1.0", "-2", "0.5", "1e0", "10e-1", "2"}[r.IntN(8)])
	case 6:
		return uint64(1<<53 + r.IntN(3) - 1)
	case 7:
		return float32(r.IntN(5)) / 10
	case 8, 9:
		m := map[string]any{}
		for range r.IntN(4) {
			m[string("abcdE"[r.IntN(5)])] = randomValue(r, depth-1)
		}
		return m
	case 10:
		list := make([]any, r.IntN(4))
		for i := range list {
			list[i] = randomValue(r, depth-1)
		}
		return list
	}
	s := sample{A: r.IntN(4), E: float32(r.IntN(4)) / 4, H: "x", g: 1}
	if r.IntN(2) == 0 {
		s.B = new(string)
	}
	if r.IntN(2) == 0 {
		s.C = []float64{float64(r.IntN(3)), 0.5}
	}
	if r.IntN(3) == 0 {
		s.D = map[string]any{"a": randomValue(r, depth-1)}
	}
	if r.IntN(4) == 0 {
		s.F = &sample{}
	}
	return s
}

func randomSchema(r *rand.Rand, depth int) any {
	switch {
	case r.IntN(12) == 0:
		return r.IntN(4) > 0
	case depth == 0:
		return map[string]any{"type": randomType(r)}
	}
	s := map[string]any{}
	for range 1 + r.IntN(3) {
		name := []string{
			"type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "minLength", "maxLength",
			"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "const", "allOf", "anyOf", "oneOf", "not", "pattern",
			"minProperties", "maxProperties", "$ref", "uniqueItems", "multipleOf", "type",
		}[r.IntN(27)]
		switch name {
		case "type":
			s[name] = randomType(r)
		case "properties":
			p := map[string]any{}
			for range r.IntN(4) {
				p[string("abcdE"[r.IntN(5)])] = randomSchema(r, depth-1)
			}
			s[name] = p
		case "required":
			s[name] = []any{string("abc"[r.IntN(3)])}
		case "additionalProperties", "items", "not":
			s[name] = randomSchema(r, depth-1)
		case "prefixItems", "allOf", "anyOf", "oneOf":
			list := []any{}
			for range 1 + r.IntN(3) {
				list = append(list, randomSchema(r, depth-1))
			}
			s[name] = list
		case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
			s[name] = json.Number([]string{"0", "1", "1.0", "-1.5", "0.1", "9007199254740993", "2e0"}[r.IntN(7)])
		case "enum":
			s[name] = []any{randomValue(r, 1), randomValue(r, 1)}
		case "const":
			s[name] = randomValue(r, 1)
		case "pattern":
			s[name] = "^a?b*$"
		case "$ref":
			s[name] = "#/$defs/d"
		case "uniqueItems":
			s[name] = r.IntN(2) == 0
		case "multipleOf":
			s[name] = 2
		default:
			s[name] = r.IntN(3)
		}
	}
	if depth == 3 {
		s["$defs"] = map[string]any{"d": randomSchema(r, 1)}
	}
	return s
}

func randomType(r *rand.Rand) any {
	names := []any{"null", "boolean", "integer", "number", "string", "array", "object"}
	if r.IntN(3) == 0 {
		i := r.IntN(6)
		return []any{names[i], names[i+1]}
	}
	return names[r.IntN(7)]
}
