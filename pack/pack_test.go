package pack

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
)

func openLocal(t testing.TB) *warehouse.Local {
	t.Helper()
	dir := t.TempDir()
	l, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		if err := warehouse.RemoveTree(dir); err != nil {
			t.Error(err)
		}
	})
	return l
}

// sample writes a small fileset with one of each kind of entry below dir.
func sample(t testing.TB, dir string) {
	t.Helper()
	for _, d := range []string{"a", "a/b", "empty"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	for name, content := range map[string]string{"a/b/c": "deep", "a-b": "dash", "run": "#!/bin/sh\n", "zero": ""} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	must(t, os.Chmod(filepath.Join(dir, "run"), 0o755))
	must(t, os.Symlink("../a-b", filepath.Join(dir, "a/link")))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWaysAgree(t *testing.T) {
	l := openLocal(t)
	ctx := context.Background()
	src := filepath.Join(t.TempDir(), "src")
	sample(t, src)
	for _, packtype := range []string{Tree, Tar} {
		o := Options{Packtype: packtype}
		scanned, err := Scan(ctx, src, o)
		must(t, err)
		ingested, err := Ingest(ctx, l, src, o)
		must(t, err)
		must(t, Check(ctx, l, ingested.ID))
		must(t, l.Remove(ingested.ID))
		staged, err := l.Stage("test")
		must(t, err)
		sample(t, filepath.Join(staged, "out"))
		adopted, err := Adopt(ctx, l, filepath.Join(staged, "out"), o)
		must(t, err)
		must(t, Check(ctx, l, adopted.ID))
		if scanned.ID != ingested.ID || scanned.ID != adopted.ID || scanned.Tree != adopted.Tree {
			t.Errorf("%s: scan %s, ingest %s, adopt %s", packtype, scanned.ID, ingested.ID, adopted.ID)
		}
		out := filepath.Join(t.TempDir(), "out")
		must(t, Export(ctx, l, adopted.ID, out, ExportOptions{}))
		exported, err := Scan(ctx, out, o)
		must(t, err)
		if exported.ID != scanned.ID {
			t.Errorf("%s: exported %s, want %s", packtype, exported.ID, scanned.ID)
		}
	}
}

func TestFileWare(t *testing.T) {
	l := openLocal(t)
	ctx := context.Background()
	src := filepath.Join(t.TempDir(), "tool")
	must(t, os.WriteFile(src, []byte("content"), 0o755))
	scanned, err := Scan(ctx, src, Options{})
	must(t, err)
	ingested, err := Ingest(ctx, l, src, Options{})
	must(t, err)
	must(t, Check(ctx, l, ingested.ID))
	must(t, l.Remove(ingested.ID))
	staged, err := l.Stage("test")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(staged, "x"), []byte("content"), 0o755))
	must(t, os.Chmod(filepath.Join(staged, "x"), 0o755))
	adopted, err := Adopt(ctx, l, filepath.Join(staged, "x"), Options{})
	must(t, err)
	must(t, Check(ctx, l, adopted.ID))
	if scanned.ID != ingested.ID || scanned.ID != adopted.ID || !adopted.File {
		t.Errorf("scan %v, ingest %v, adopt %v", scanned, ingested, adopted)
	}
	data, err := os.ReadFile(l.Fileset(adopted))
	if err != nil || string(data) != "content" {
		t.Errorf("fileset %q, %v", data, err)
	}
	out := filepath.Join(t.TempDir(), "out")
	must(t, Export(ctx, l, adopted.ID, out, ExportOptions{}))
	if err := Export(ctx, l, adopted.ID, out, ExportOptions{}); err == nil {
		t.Error("export replaced a file")
	}
}
