package warehousetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// Small makes a ware of two files, which differs with text.
func Small(t testing.TB, l *warehouse.Local, text string) warehouse.Record {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir+"/text", text, 0o644)
	writeFile(t, dir+"/bin/run", "#!/bin/sh\necho "+text+"\n", 0o755)
	return ingest(t, l, dir, pack.Options{})
}

func ingest(t testing.TB, l *warehouse.Local, path string, o pack.Options) warehouse.Record {
	t.Helper()
	rec, err := pack.Ingest(t.Context(), l, path, o)
	must(t, err)
	return rec
}

// Noise makes a ware of one file among directories of n bytes that do not compress.
func Noise(t testing.TB, l *warehouse.Local, n int, seed uint64) warehouse.Record {
	t.Helper()
	dir := t.TempDir()
	for i := 0; n > 0; i++ {
		size := min(n, 4<<20)
		writeFile(t, fmt.Sprintf("%s/d%d/noise", dir, i), string(noise(size, seed+uint64(i))), 0o644)
		n -= size
	}
	return ingest(t, l, dir, pack.Options{})
}

// oneFile makes a ware of one file of n bytes of noise, which travels as one content.
func oneFile(t testing.TB, l *warehouse.Local, n int, seed uint64) warehouse.Record {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir+"/noise", string(noise(n, seed)), 0o644)
	return ingest(t, l, dir, pack.Options{})
}

func noise(n int, seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data) // without errors
	return data
}

// Wares makes wares that some form finds hard, by what is hard about them.
func Wares(t testing.TB, l *warehouse.Local) map[string]warehouse.Record {
	t.Helper()
	dir := t.TempDir()
	keep, err := pack.ParseFilters("uid=keep,gid=keep,mtime=keep,setid=keep")
	must(t, err)
	made := map[string]warehouse.Record{"small": Small(t, l, "small")}

	empty := filepath.Join(dir, "empty")
	must(t, os.Mkdir(empty, 0o755))
	made["empty"] = ingest(t, l, empty, pack.Options{})

	odd := filepath.Join(dir, "odd")
	for _, name := range []string{"new\nline", "bad\xff\xfeutf8", "back\\slash", "*?[]{}", " ", "-rf", "é", "e\u0301", "..."} {
		writeFile(t, filepath.Join(odd, name), "in "+name, 0o604)
	}
	writeFile(t, filepath.Join(odd, strings.Repeat("n", 255)), "long", 0o444)
	writeFile(t, filepath.Join(odd, strings.Repeat("deep/", 60), "f"), "", 0o755)
	must(t, os.Symlink("/etc/passwd", odd+"/absolute"))
	must(t, os.Symlink("../../nowhere", odd+"/dangling"))
	must(t, os.Mkdir(odd+"/closed", 0o755))
	must(t, os.Chmod(odd+"/closed", 0o500))
	made["odd"] = ingest(t, l, odd, pack.Options{Filters: keep})

	file := filepath.Join(dir, "tool")
	writeFile(t, file, "the ware is a file", 0o755)
	made["file"] = ingest(t, l, file, pack.Options{})
	made["file kept"] = ingest(t, l, file, pack.Options{Filters: keep})
	holds := filepath.Join(dir, "holds")
	writeFile(t, holds+"/file", "the ware is a file", 0o755)
	made["directory with file"] = ingest(t, l, holds, pack.Options{})
	writeFile(t, file+"0", "", 0o644)
	made["empty file"] = ingest(t, l, file+"0", pack.Options{})

	for _, packtype := range []string{pack.Tar, pack.Zip} {
		o := pack.Options{Packtype: packtype, Filters: pack.RioPackFilters()}
		made[packtype] = ingest(t, l, odd, o)
		made[packtype+" file"] = ingest(t, l, file, o)
		o.Filters = keep
		made[packtype+" kept"] = ingest(t, l, odd, o)
	}

	zeros := filepath.Join(dir, "zeros")
	must(t, os.Mkdir(zeros, 0o755))
	must(t, os.WriteFile(zeros+"/zeros", nil, 0o644))
	must(t, os.Truncate(zeros+"/zeros", pack.RatioFloor+pack.RatioFloor/2))
	made["zeros"] = ingest(t, l, zeros, pack.Options{})
	made["noise"] = Noise(t, l, 3<<20, 7)
	return made
}

// twins makes two wares with one tar id, which differ in a symlink: rio's hash does not
// cover those. They are in warehouses of their own.
func twins(t testing.TB, a, b *warehouse.Local) (one, other warehouse.Record) {
	t.Helper()
	dir := t.TempDir()
	o := pack.Options{Packtype: pack.Tar, Filters: pack.RioPackFilters()}
	writeFile(t, dir+"/f", "same", 0o644)
	must(t, os.Symlink("f", dir+"/link"))
	one = ingest(t, a, dir, o)
	must(t, os.Remove(dir+"/link"))
	must(t, os.Symlink("/etc/shadow", dir+"/link"))
	other = ingest(t, b, dir, o)
	if one.ID != other.ID || one.Tree == other.Tree {
		t.Fatalf("%s and %s, with trees %s and %s: want one id of two trees", one.ID, other.ID, one.Tree, other.Tree)
	}
	return one, other
}

// flip returns data with one bit turned, at a fraction of its length.
func flip(data []byte, at float64) []byte {
	data = bytes.Clone(data)
	data[int(at*float64(len(data)-1))] ^= 0x10
	return data
}
