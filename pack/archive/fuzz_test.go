package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// FuzzUnpack unpacks whatever comes. What it takes must be whole and scan to the same
// tree; nothing may appear beside the warehouse.
func FuzzUnpack(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o700},
		{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o644, Size: 3},
		{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../canary"},
		{Name: "h", Typeflag: tar.TypeLink, Linkname: "d/f"},
		{Name: "../canary", Typeflag: tar.TypeReg},
	} {
		w.WriteHeader(&h)
		if h.Size > 0 {
			io.WriteString(w, "abc")
		}
		w.Flush()
		f.Add(append(bytes.Clone(b.Bytes()), make([]byte, 1024)...))
	}
	// What counts of a fileset at rest: everything but its owner.
	stored, err := pack.ParseFilters("uid=0,gid=0,mtime=keep,sticky=keep,setid=keep,dev=keep")
	must(f, err)
	top := f.TempDir()
	l, err := warehouse.OpenLocal(top + "/warehouse")
	must(f, err)
	must(f, os.WriteFile(top+"/canary", []byte("alive"), 0o644))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := Unpack(context.Background(), l, bytes.NewReader(data), pack.BuildOptions{Name: "fuzz", MaxBytes: 1 << 20, MaxEntries: 100})
		if err == nil {
			got, scanErr := pack.Scan(context.Background(), l.Fileset(rec), pack.Options{Filters: stored})
			if os.Geteuid() == 0 && (scanErr != nil || got.Tree != rec.Tree || got.Entries != rec.Entries || got.Bytes != rec.Bytes) {
				t.Errorf("unpacked %+v, which scans to %+v, %v", rec, got, scanErr)
			}
			must(t, l.Remove(rec.ID))
		}
		left, _ := filepath.Glob(top + "/warehouse/stage/*/*")
		beside, _ := os.ReadDir(top)
		canary, _ := os.ReadFile(top + "/canary")
		if len(left) > 0 || len(beside) != 2 || string(canary) != "alive" {
			t.Fatalf("left %v, beside %v, canary %q", left, beside, canary)
		}
	})
}
