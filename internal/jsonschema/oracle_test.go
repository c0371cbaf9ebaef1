package jsonschema

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kilnbuild/kiln/internal/jsonschema/full"
)

// A second opinion: what package full compiles and accepts is what another complete
// validator does, in every draft.
func TestFullAgreesWithAnother(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 3))
	drafts := []string{
		"https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2019-09/schema",
		"http://json-schema.org/draft-07/schema#", "http://json-schema.org/draft-06/schema#", "http://json-schema.org/draft-04/schema#",
	}
	compared, refused := 0, 0
	for range 10000 {
		schema := randomSchema(r, 3)
		if object, ok := schema.(map[string]any); ok {
			n := r.IntN(len(drafts))
			object["$schema"] = drafts[n]
			sprinkle(r, object)
			if n >= 2 {
				refsAlone(object)
			}
		}
		source, _ := json.Marshal(schema)
		doc, err := Decode(source)
		if err != nil {
			t.Fatal(err)
		}
		other := jsonschema.NewCompiler()
		if err := other.AddResource("kiln:///schema", doc); err != nil {
			t.Fatal(err)
		}
		want, wantErr := other.Compile("kiln:///schema")
		s, err := Compile(source)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("seed %d: %s: %v; the other says %v", seed, source, err, wantErr)
		}
		if err != nil {
			refused++
			continue
		}
		for range 4 {
			text, _ := json.Marshal(randomValue(r, 3))
			v, _ := Decode(text)
			compared++
			got, want := s.validate(v), want.Validate(v)
			// The other takes a circle for one more thing that is wrong with the value.
			if (got == nil) != (want == nil) && !errors.Is(got, full.ErrLoop) {
				t.Fatalf("seed %d: %s, value %s: %v; the other says %v", seed, source, text, got, want)
			}
		}
	}
	if compared < 10000 || refused < 100 {
		t.Errorf("%d values compared, %d schemas refused by both", compared, refused)
	}
	t.Logf("%d values compared, %d schemas refused by both", compared, refused)
}

// refsAlone removes what is beside a $ref: until 2019-09 that counts for nothing, but
// the other validator looks at some of it.
func refsAlone(v any) {
	object, _ := v.(map[string]any)
	_, ref := object["$ref"]
	for name, item := range object {
		if ref && name != "$ref" && name[0] != '$' {
			delete(object, name)
			continue
		}
		list, _ := item.([]any)
		for _, one := range append(list, item) {
			refsAlone(one)
		}
	}
}

// sprinkle adds keywords that package quick does not know.
func sprinkle(r *rand.Rand, s map[string]any) {
	for range r.IntN(3) {
		switch r.IntN(10) {
		case 0:
			s["unevaluatedProperties"] = randomSchema(r, 1)
		case 1:
			s["unevaluatedItems"] = randomSchema(r, 1)
		case 2:
			s["contains"] = randomSchema(r, 1)
		case 3:
			s["minContains"], s["maxContains"] = r.IntN(3), r.IntN(4)
		case 4:
			s["if"], s["then"], s["else"] = randomSchema(r, 1), randomSchema(r, 1), randomSchema(r, 1)
		case 5:
			s["dependentSchemas"] = map[string]any{"a": randomSchema(r, 1)}
		case 6:
			s["dependentRequired"] = map[string]any{"a": []any{"b"}}
		case 7:
			s["dependencies"] = map[string]any{"a": []any{"b"}, "b": randomSchema(r, 1)}
		case 8:
			s["patternProperties"] = map[string]any{"[ab]": randomSchema(r, 1)}
		case 9:
			s["propertyNames"] = map[string]any{"maxLength": 1}
		}
	}
}
