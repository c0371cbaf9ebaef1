package full

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The official suite, where KILN_JSONSCHEMA_SUITE names a checkout of
// github.com/json-schema-org/JSON-Schema-Test-Suite. Cases that need a fetched schema,
// or a vocabulary switched off, are none of ours.
func TestSuite(t *testing.T) {
	dir := os.Getenv("KILN_JSONSCHEMA_SUITE")
	if dir == "" {
		t.Skip("needs KILN_JSONSCHEMA_SUITE=DIR, a checkout of json-schema-org/JSON-Schema-Test-Suite")
	}
	for name, d := range map[string]draft{"draft4": 4, "draft6": 6, "draft7": 7, "draft2019-09": 2019, "draft2020-12": 2020} {
		t.Run(name, func(t *testing.T) {
			files, _ := filepath.Glob(filepath.Join(dir, "tests", name, "*.json"))
			ran := 0
			for _, file := range files {
				ran += runSuiteFile(t, file, d)
			}
			if ran < 500 {
				t.Errorf("%d cases only", ran)
			}
			t.Logf("%d cases", ran)
		})
	}
}

func runSuiteFile(t *testing.T, file string, d draft) (ran int) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var groups []struct {
		Description string
		Schema      any
		Tests       []struct {
			Description string
			Data        any
			Valid       bool
		}
	}
	if err := decoder.Decode(&groups); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if object, ok := g.Schema.(map[string]any); ok && object["$schema"] == nil {
			object["$schema"] = d.url()
		}
		s, err := Compile(g.Schema)
		if err != nil {
			if !strings.Contains(err.Error(), "outside the schema") {
				t.Errorf("%s: %s: %v", filepath.Base(file), g.Description, err)
			}
			continue
		}
		for _, tt := range g.Tests {
			ran++
			found, err := s.Validate(tt.Data)
			if err != nil || (len(found) == 0) != tt.Valid {
				t.Errorf("%s: %s: %s: %v %v", filepath.Base(file), g.Description, tt.Description, found, err)
			}
		}
	}
	return ran
}
