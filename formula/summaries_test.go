package formula

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// elsewhere are the summaries that no fixture can have, and the test that has them.
var elsewhere = map[string]string{
	"Chain of references too long":   "TestLongChain",
	"Too many modules":               "TestTooManyModules",
	"Value not known":                "only a bug in kiln brings it about",
	"Expression cannot be evaluated": "only a bug in kiln brings it about",

	"Output of a call cannot be used": "TestResults",
}

var summaryForm = regexp.MustCompile(`^[A-Z][a-zA-Z0-9_ ']+$`)

// TestSummaries requires a fixture for every diagnostic that the code can report: for
// each call of a function that reports one, the first argument that reads as a summary.
func TestSummaries(t *testing.T) {
	covered := make(map[string]bool)
	for _, x := range badFixtures(t) {
		for _, want := range x.want {
			_, summary, _ := strings.Cut(want, ": ")
			covered[summary] = true
		}
	}
	found := summariesInCode(t)
	if len(found) < 50 {
		t.Fatalf("found only %d summaries in the code", len(found))
	}
	for summary, at := range found {
		if !covered[summary] && elsewhere[summary] == "" {
			t.Errorf("%s: no fixture in testdata/bad has %q", at, summary)
		}
	}
	for summary := range elsewhere {
		if found[summary] == "" {
			t.Errorf("no code reports %q", summary)
		}
	}
}

var reporters = map[string]bool{"problem": true, "fail": true, "eachNamed": true, "checkPath": true,
	"formed": true, "imagePath": true, "textObject": true}

func summariesInCode(t *testing.T) map[string]string {
	t.Helper()
	files := token.NewFileSet()
	found := make(map[string]string)
	note := func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !reporters[calledName(call)] {
			return true
		}
		for _, arg := range call.Args {
			literal, ok := arg.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				continue
			}
			if summary, err := strconv.Unquote(literal.Value); err == nil && summaryForm.MatchString(summary) {
				found[summary] = files.Position(literal.Pos()).String()
				break
			}
		}
		return true
	}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, note)
	}
	return found
}

func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}
