package formula

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2"
)

var update = flag.Bool("update", false, "write the golden files anew")

// text prints diagnostics the way the command line does.
func text(f *Formula, diags hcl.Diagnostics) string {
	var b bytes.Buffer
	if err := hcl.NewDiagnosticTextWriter(&b, f.Sources, 0, false).WriteDiagnostics(diags); err != nil {
		return err.Error()
	}
	return b.String()
}

// TestGood loads every formula in testdata/good and compares it with golden.json
// beside it.
func TestGood(t *testing.T) {
	dirs, err := filepath.Glob("testdata/good/*/kiln.hcl")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			f, diags := Load(dir, LoadOptions{})
			if len(diags) > 0 {
				t.Fatalf("diagnostics:\n%s", text(f, diags))
			}
			compareGolden(t, f, filepath.Join(dir, "golden.json"))
		})
	}
}

func compareGolden(t *testing.T, f *Formula, golden string) {
	t.Helper()
	root := f.Dir
	f.Dir, f.Sources = ".", nil
	for _, w := range f.Wares {
		w.Dir, _ = filepath.Rel(root, w.Dir)
	}
	got, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(withoutRanges(t, got), '\n')
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update and read the diff. Got:\n%s", golden, got)
	}
}

// withoutRanges shortens ranges to "line:column".
func withoutRanges(t *testing.T, data []byte) []byte {
	t.Helper()
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	short, err := json.MarshalIndent(shorten(tree), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return short
}

func shorten(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = shorten(v[i])
		}
	case map[string]any:
		if start, ok := v["Start"].(map[string]any); ok && v["Filename"] != nil {
			line, _ := json.Marshal(start["Line"])
			column, _ := json.Marshal(start["Column"])
			return filepath.Base(v["Filename"].(string)) + ":" + string(line) + ":" + string(column)
		}
		for k := range v {
			v[k] = shorten(v[k])
		}
	}
	return v
}
