package formula

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readDocs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/formula.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns the text below a heading, up to the next of any level.
func section(t *testing.T, docs, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(docs, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("docs/formula.md has no %q", heading)
	}
	if i := strings.Index(text, "\n#"); i >= 0 {
		text = text[:i]
	}
	return text
}

var tableName = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)")

func namesInTable(text string) []string {
	var names []string
	for _, m := range tableName.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return names
}

// TestDocsNames compares the reference with what the code knows.
func TestDocsNames(t *testing.T) {
	docs := readDocs(t)
	if got, want := namesInTable(section(t, docs, "## Functions")), Functions(); !slices.Equal(got, want) {
		t.Errorf("functions not in the code: %v; not in the reference: %v", difference(got, want), difference(want, got))
	}
	for _, block := range append(slices.Clone(topLevel), "image") {
		got := namesInTable(section(t, docs, "### "+block))
		want := slices.Sorted(slices.Values(schemas[block].attributes))
		if !slices.Equal(got, want) {
			t.Errorf("%s: the reference has %v, the code %v", block, got, want)
		}
	}
}

// TestDocsExamples loads every example of the reference, which is also formatted.
func TestDocsExamples(t *testing.T) {
	examples := strings.Split(readDocs(t), "```hcl\n")[1:]
	if len(examples) < 4 {
		t.Fatalf("found %d examples", len(examples))
	}
	for _, example := range examples {
		example, _, _ = strings.Cut(example, "```")
		if f, diags := Load(writeFormula(t, example), LoadOptions{}); len(diags) > 0 {
			t.Error(text(f, diags))
		}
		formatted, _ := Format("docs/formula.md", []byte(example))
		if string(formatted) != example {
			t.Errorf("not formatted:\n%s\nwant:\n%s", example, formatted)
		}
	}
}
