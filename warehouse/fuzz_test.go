package warehouse

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzRecord reads whatever comes as a record. What is taken is of the ware that was
// asked for, and leads nowhere but into the warehouse.
func FuzzRecord(f *testing.F) {
	const id = "tree:aaaaaaaa-1"
	f.Add([]byte(`{"id":"tree:aaaaaaaa-1","tree":"tree:aaaaaaaa-1","file":true,"entries":1,"bytes":2,"stamp":"x","created":"2020-01-01T00:00:00Z","dirs":"AA=="}`))
	f.Add([]byte(`{"id":"tree:aaaaaaaa-1","tree":"tree:bbbb-1","alias":true,"image":{"env":["A=b"]}}`))
	f.Add([]byte(`{"id":"tree:aaaaaaaa-1","tree":"tree:../../x-1","alias":true}`))
	dir := f.TempDir()
	l, err := OpenLocal(dir)
	if err != nil {
		f.Fatal(err)
	}
	if err := os.MkdirAll(dir+"/record/tree", 0o755); err != nil {
		f.Fatal(err)
	}
	want, err := ParseWareID(id)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(dir+"/record/tree/aaaaaaaa-1.json", data, 0o644); err != nil {
			t.Fatal(err)
		}
		rec, err := l.Get(want)
		if err != nil {
			return
		}
		at := l.Fileset(rec)
		if rec.ID != want || at != "" && !strings.HasPrefix(filepath.Clean(at), dir+"/fileset/") {
			t.Errorf("%+v at %s", rec, at)
		}
		_, _ = l.Dirs(rec)
	})
}

func FuzzParseWareID(f *testing.F) {
	f.Add("tree:aa-1")
	f.Add("../..:x")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseWareID(text)
		if err == nil && (id.String() != text || strings.ContainsAny(text, "/.\x00")) {
			t.Errorf("%q is taken as %q", text, id)
		}
	})
}
