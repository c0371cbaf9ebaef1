package warpforge

import (
	"bytes"
	"testing"
)

// FuzzParse holds that a document which can be read is printed so that it reads the
// same, and that nothing crashes.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`{"module.v1": {"name": "example.org/a"}}`,
		formulaOf(`"/": "ware:`+tarID+`", "$A": "literal:<é\n>",`, `"script": {"interpreter": "sh", "contents": ["a\u2028", "b"], "network": true}`,
			`"o": {"from": "/x", "packtype": "tar", "filters": {"uid": "keep"}}, "p": {"from": "/y"}`),
		formulaOf(`"/m": {"basis": "mount:overlay:a:b", "filters": {}}`, `"echo": {}`, ""),
		`{"formula": {"formula.v1": {"inputs": {}, "action": {` + doTrue + `}, "outputs": {}}}, "context": {"context.v1": {"warehouses": {"` + tarID + `": "ca+file:///x"}}}}`,
		plotOf(`"a": "catalog:x.org/y:v1:z", "g": "ingest:git:.:HEAD"`, stepOf("s", `"/": "pipe::a"`)+`, "t": {"plot": {"inputs": {"b": "pipe:s:out"}, "steps": {}, "outputs": {"c": "pipe::b"}}}`, `"o": "pipe:t:c"`),
		`{"plot.v1":`, "{\"\\ud800\": 1}", "[[[[", `{"a" "b"}`, "{\xff}", `{"formula": 0.1e5}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, diags := Parse(text, "x.wf")
		if d == nil {
			if !diags.HasErrors() {
				t.Fatal("no document and no error")
			}
			return
		}
		printed := Print(d)
		again, diags := Parse(printed, "x.wf")
		if diags.HasErrors() {
			t.Fatalf("what was printed cannot be read: %v\n%s", diags, printed)
		}
		if twice := Print(again); !bytes.Equal(printed, twice) {
			t.Fatalf("printed again it differs:\n%s\n%s", printed, twice)
		}
		if d.Formula != nil && boundID(d.Formula) != boundID(again.Formula) {
			t.Fatal("its FormulaID changed")
		}
	})
}

// boundID is the FormulaID of a formula whose inputs are all written out.
func boundID(f *Formula) string {
	b := &Bound{Formula: f}
	for _, in := range f.Inputs {
		b.Inputs = append(b.Inputs, BoundInput{Name: in.Name.Value, Text: string(in.Kind) + ":" + in.Text, Filters: in.Filters, Complex: in.Complex})
	}
	return b.FormulaID(nil)
}

// FuzzLoad holds that no document crashes what makes a formula of it.
func FuzzLoad(f *testing.F) {
	f.Add(plotOf(`"a": "literal:x"`, stepOf("s", `"/": "pipe::a"`)+`, "t": {"plot": {"inputs": {"b": "pipe:s:out"}, "steps": {`+stepOf("u", `"/b": "pipe::b"`)+`}, "outputs": {"c": "pipe:u:out"}}}`, `"o": "pipe:t:c"`))
	f.Add(plotOf("", stepOf("s", `"/": "pipe:t:c"`)+`, "t": {"plot": {"inputs": {"b": "pipe:s:out"}, "steps": {}, "outputs": {"c": "pipe::b"}}}`, ""))
	f.Fuzz(func(t *testing.T, text string) {
		d, _ := Parse([]byte(text), PlotFile)
		if d == nil || d.Kind == KindModule {
			return
		}
		l := newLoaded("/nowhere", nil)
		l.Document = d
		l.lower()
		done := map[string]bool{}
		for _, s := range l.Formula.Steps {
			for _, in := range s.Inputs {
				if in.From.Step != "" && !done[in.From.Step] && !l.diags.HasErrors() {
					t.Fatalf("%s comes before %s, which it takes from", s.Addr, in.From.Step)
				}
			}
			done[s.Addr] = true
		}
	})
}
