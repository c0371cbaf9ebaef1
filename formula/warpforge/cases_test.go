package warpforge

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// casesDir is a directory of documents with what warpforge made of them, or skips.
func casesDir(t *testing.T) string {
	dir := os.Getenv("KILN_WARPFORGE_CASES")
	if dir == "" {
		t.Skip("KILN_WARPFORGE_CASES names no directory of cases")
	}
	return dir
}

// TestCasesFormulaID compares FormulaIDs with those that warpforge published.
func TestCasesFormulaID(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(casesDir(t), "*", FormulaFile))
	if len(files) == 0 {
		t.Fatal("no cases")
	}
	for _, file := range files {
		want := ""
		if text, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cid")); err == nil {
			want = strings.TrimSpace(string(text))
		} else {
			var record struct{ FormulaID string }
			text, err := os.ReadFile(filepath.Join(filepath.Dir(file), "runrecord"))
			if err == nil {
				err = json.Unmarshal(text, &record)
			}
			if err != nil {
				t.Fatal(err)
			}
			want = record.FormulaID
		}
		l, diags := Load(file)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		wares := map[string]string{}
		for _, in := range l.Formula.Steps[0].Inputs {
			for _, w := range l.Formula.Wares {
				if w.Addr == in.From.Ware {
					wares[in.Port] = w.Source.ID
				}
			}
		}
		if got := l.Steps["step.formula"].FormulaID(wares); got != want {
			t.Errorf("%s: FormulaID %s, want %s", file, got, want)
		}
	}
}

// TestCasesOrder compares the order of steps with warpforge's.
func TestCasesOrder(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(casesDir(t), "*", "order"))
	if len(files) == 0 {
		t.Fatal("no cases")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		l, diags := Load(filepath.Join(filepath.Dir(file), PlotFile))
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		var order []string
		for _, s := range l.Formula.Steps {
			order = append(order, strings.TrimPrefix(s.Addr, "step."))
		}
		if got, want := "["+strings.Join(order, " ")+"]", strings.TrimSpace(string(text)); got != want {
			t.Errorf("%s: order %s, want %s", file, got, want)
		}
	}
}
