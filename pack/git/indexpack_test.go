package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// packOf makes one pack of all that is in a repository and returns its path.
func packOf(t testing.TB, dir string, options ...string) string {
	t.Helper()
	runGit(t, dir, append([]string{"repack", "-q", "-a", "-d", "-f", "--depth=50"}, options...)...)
	packs, err := filepath.Glob(filepath.Join(dir, ".git/objects/pack/*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("packs %v, %v", packs, err)
	}
	return packs[0]
}

func historyOf(t testing.TB, format string) string {
	t.Helper()
	dir := newRepo(t, someFiles, "--object-format="+format)
	for i := range 20 {
		commitFiles(t, dir, map[string]string{"f": strings.Repeat(fmt.Sprintf("line %d\n", i), 300) + strings.Repeat("the same\n", 3000)})
	}
	runGit(t, dir, "tag", "-a", "-m", "m", "v1")
	return dir
}

// TestIndexPack compares the index with the one that git writes, byte by byte.
func TestIndexPack(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		dir := historyOf(t, format)
		for _, refDeltas := range []bool{false, true} {
			var path string
			if refDeltas {
				path = filepath.Join(t.TempDir(), "pack")
				objects := gitInput(t, dir, "", "rev-list", "--objects", "--all")
				cmd := osexec.Command("git", "-C", dir, "pack-objects", "-q", "--stdout", "--no-reuse-delta", "--no-delta-base-offset")
				cmd.Stdin = strings.NewReader(objects)
				data, err := cmd.Output()
				must(t, err)
				must(t, os.WriteFile(path, data, 0o644))
				runGit(t, dir, "index-pack", "-o", path+".idx", path)
			} else {
				path = packOf(t, dir)
				path = strings.TrimSuffix(path, ".pack")
				must(t, os.Link(path+".pack", path))
			}
			want, err := os.ReadFile(path + ".idx")
			must(t, err)
			to := filepath.Join(t.TempDir(), "idx")
			size := map[string]int{"sha1": 20, "sha256": 32}[format]
			sum, n, err := IndexPack(t.Context(), path, to, size, nil)
			must(t, err)
			got, err := os.ReadFile(to)
			must(t, err)
			if !bytes.Equal(got, want) {
				t.Errorf("%s: the index differs from git's: %d bytes, want %d", format, len(got), len(want))
			}
			if len(sum) != 2*size || n < 60 {
				t.Errorf("%s: checksum %s, %d objects", format, sum, n)
			}
		}
	}
}

func TestIndexDamagedPack(t *testing.T) {
	data, err := os.ReadFile(packOf(t, historyOf(t, "sha1")))
	must(t, err)
	resum := func(b []byte) []byte {
		h := newHash(20)
		h.Write(b[:len(b)-20])
		id, err := sum(h)
		must(t, err)
		return append(b[:len(b)-20:len(b)-20], id...)
	}
	for name, change := range map[string]func([]byte) []byte{
		"empty":     func([]byte) []byte { return nil },
		"short":     func(b []byte) []byte { return b[:20] },
		"truncated": func(b []byte) []byte { return b[:len(b)-100] },
		"checksum":  func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"no pack":   func(b []byte) []byte { b[0] = 'p'; return resum(b) },
		"version":   func(b []byte) []byte { b[7] = 9; return resum(b) },
		"count":     func(b []byte) []byte { b[11]++; return resum(b) },
		"fewer":     func(b []byte) []byte { b[11]--; return resum(b) },
		"kind":      func(b []byte) []byte { b[12] = 0x50; return resum(b) },
		"size":      func(b []byte) []byte { b[12] ^= 1; return resum(b) },
		"zlib":      func(b []byte) []byte { b[len(b)/2] ^= 0x10; return resum(b) },
		"trailing":  func(b []byte) []byte { return resum(append(b[:len(b)-20:len(b)-20], make([]byte, 30)...)) },
	} {
		path := filepath.Join(t.TempDir(), "pack")
		must(t, os.WriteFile(path, change(bytes.Clone(data)), 0o644))
		if _, _, err := IndexPack(t.Context(), path, path+".idx", 20, nil); err == nil {
			t.Errorf("%s: no error", name)
		} else if testing.Verbose() {
			t.Logf("%s: %v", name, err)
		}
		if _, err := os.Stat(path + ".idx"); err == nil {
			t.Errorf("%s: an index was written", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "pack")
	must(t, os.WriteFile(path, data, 0o644))
	if _, _, err := IndexPack(ctx, path, path+".idx", 20, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
