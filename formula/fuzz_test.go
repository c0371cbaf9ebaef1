package formula

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func addFixtures(f *testing.F) {
	f.Helper()
	for _, pattern := range []string{"testdata/good/*/*.hcl", "testdata/bad/*.hcl"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			src, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			if len(src) < 8<<10 {
				f.Add(src)
			}
		}
	}
}

// FuzzLoad requires that Load returns, and that what it returns without an error holds
// together.
func FuzzLoad(f *testing.F) {
	addFixtures(f)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, src []byte) {
		file := filepath.Join(dir, FileName)
		if err := os.WriteFile(file, src, 0o644); err != nil {
			t.Fatal(err)
		}
		loaded, diags := Load(file, LoadOptions{})
		for _, d := range diags {
			if d.Summary == "" || d.Detail == "" {
				t.Errorf("a diagnostic says nothing: %v", d)
			}
			if d.Summary == "Expression cannot be evaluated" || d.Summary == "Value not known" {
				t.Errorf("a bug shows: %v", d)
			}
		}
		if !diags.HasErrors() {
			checkWhole(t, loaded)
		}
	})
}

// checkWhole checks that every reference of f names something, and that steps come
// after what they need.
func checkWhole(t *testing.T, f *Formula) {
	t.Helper()
	wares, outputs, seen := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	for _, w := range f.Wares {
		wares[w.Addr] = true
	}
	check := func(r Ref) {
		if r.Ware != "" && !wares[r.Ware] || r.Step != "" && !outputs[r.String()] || r == (Ref{}) {
			t.Errorf("%q names nothing, or something later", r)
		}
	}
	for _, s := range f.Steps {
		for _, in := range s.Inputs {
			check(in.From)
		}
		for _, addr := range s.DependsOn {
			if !seen[addr] {
				t.Errorf("%s waits for %s, which comes later or not at all", s.Addr, addr)
			}
		}
		for _, o := range s.Outputs {
			outputs[s.Addr+"."+o.Name] = true
		}
		seen[s.Addr] = true
	}
	for _, o := range f.Outputs {
		check(o.From)
	}
}

// FuzzFormat requires that a formatted file parses and that formatting it again changes
// nothing.
func FuzzFormat(f *testing.F) {
	addFixtures(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		once, diags := Format("kiln.hcl", src)
		if diags.HasErrors() {
			if !bytes.Equal(once, src) {
				t.Error("a file that does not parse was changed")
			}
			return
		}
		twice, diags := Format("kiln.hcl", once)
		if diags.HasErrors() {
			t.Fatalf("the result does not parse: %v\n%s", diags, once)
		}
		if !bytes.Equal(once, twice) {
			t.Errorf("formatted once:\n%q\ntwice:\n%q", once, twice)
		}
	})
}
