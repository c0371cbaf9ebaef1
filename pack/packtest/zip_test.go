package packtest

import (
	"archive/tar"
	"archive/zip"
	"encoding/binary"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
)

func TestZip(t *testing.T) { Run(t, zipped()) }

// zipped is a packtype whose packed form is what Info-ZIP makes.
func zipped() Packtype {
	return Packtype{
		Packtype: pack.Zip,
		Pack: func(t testing.TB, dir, dst string) {
			if names, err := os.ReadDir(dir); len(names) == 0 && err == nil {
				encodeZip(t, dst) // zip makes no archive of nothing
				return
			}
			run(t, "sh", "-c", `cd "$0" && zip --quiet --recurse-paths --symlinks "$1.zip" . && mv "$1.zip" "$1"`, dir, dst)
		},
		Encode:      encodeZip,
		EncodeLoses: LosesNanoseconds | LosesSpecial,
		Tool:        func(src, dst string) error { return tool(dst, "unzip", "-q", src) },
		// unzip changes names that are not UTF-8, and leaves directories that were made
		// for what is in them as they are.
		ToolErs: map[string]bool{"terminal escapes": true, "children first": true},
		Unpack:  unpack,
		Loses:   LosesNanoseconds | LosesSpecial | LosesOwners | LosesRoot | LosesLongPaths,
	}
}

// encodeZip writes an archive as one made on Unix, with Info-ZIP's fields for owners.
func encodeZip(t testing.TB, dst string, entries ...Entry) {
	f, err := os.Create(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := zip.NewWriter(f)
	for _, e := range entries {
		types := map[byte]uint32{
			tar.TypeReg: unix.S_IFREG, tar.TypeDir: unix.S_IFDIR, tar.TypeSymlink: unix.S_IFLNK,
			tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO,
		}
		typ, ok := types[e.Typeflag]
		if !ok {
			t.Skip("zip archives have no hard links")
		}
		h := &zip.FileHeader{Name: e.Name, Method: zip.Deflate, CreatorVersion: 3 << 8, ExternalAttrs: (typ | uint32(e.Mode)) << 16}
		h.Modified = e.ModTime.Truncate(time.Second)
		h.Extra = binary.LittleEndian.AppendUint32([]byte{0x75, 0x78, 11, 0, 1, 4}, uint32(e.Uid))
		h.Extra = binary.LittleEndian.AppendUint32(append(h.Extra, 4), uint32(e.Gid))
		content := e.Content
		switch e.Typeflag {
		case tar.TypeDir:
			h.Method = zip.Store
			if h.Name += "/"; strings.HasSuffix(e.Name, "/") {
				h.Name = e.Name
			}
		case tar.TypeSymlink:
			content = e.Linkname
		}
		to, err := w.CreateHeader(h)
		if err != nil {
			t.Fatalf("%q: %v", e.Name, err)
		}
		if _, err := io.WriteString(to, content); err != nil {
			t.Fatalf("%q: %v", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
