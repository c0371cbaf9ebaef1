package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tick waits until the clock that gives ctimes has moved: what changes from now on has
// another one than what has changed by now.
func tick(t testing.TB) {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	ctime := func() unix.Timespec {
		must(t, os.WriteFile(probe, nil, 0o600))
		must(t, os.Remove(probe))
		must(t, os.WriteFile(probe, nil, 0o600))
		var st unix.Stat_t
		must(t, unix.Lstat(probe, &st))
		return st.Ctim
	}
	for before := ctime(); ctime() == before; {
	}
}

func fillTree(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for path, content := range files {
		path = filepath.Join(dir, path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
}

// wide is a tree with directories that are opened and that are not, and one of several tasks.
func wide() map[string]string {
	files := map[string]string{"a": "a", "b/c/d/e": "e", "b/c/f": "f", "g/h": "h"}
	for i := range 3 * batch {
		files[fmt.Sprintf("many/%03d", i)] = strings.Repeat("x", i)
	}
	for i := range glances + 1 {
		files[fmt.Sprintf("some/%d", i)] = "x"
		files[fmt.Sprintf("b/few/%d", i/2)] = "x"
	}
	return files
}

func openCache(t testing.TB) *StatCache {
	t.Helper()
	c, err := OpenStatCache(filepath.Join(t.TempDir(), "cache"))
	must(t, err)
	return later(c)
}

// agree expects the same of a scan with the caches as of one without.
func agree(t testing.TB, what, dir string, o Options, caches ...*StatCache) {
	t.Helper()
	ctx := context.Background()
	want, err := Scan(ctx, dir, o)
	must(t, err)
	for _, o.Cache = range caches {
		got, err := Scan(ctx, dir, o)
		must(t, err)
		if got != want {
			t.Fatalf("%s: got %v, want %v", what, got, want)
		}
	}
}

// TestStatCacheStale: whatever changes is noticed, also where it is made to look as before.
func TestStatCacheStale(t *testing.T) {
	keep := func(t *testing.T, path string, change func()) {
		t.Helper()
		info, err := os.Lstat(path)
		must(t, err)
		change()
		must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	}
	write := func(t *testing.T, path, content string) { must(t, os.WriteFile(path, []byte(content), 0o644)) }
	for name, change := range map[string]func(t *testing.T, dir string){
		"written, mtime set back": func(t *testing.T, dir string) {
			keep(t, dir+"/b/c/d/e", func() { write(t, dir+"/b/c/d/e", "E") })
		},
		"replaced, same size and mtime": func(t *testing.T, dir string) {
			keep(t, dir+"/b/few/1", func() {
				write(t, dir+"/new", "y")
				must(t, os.Rename(dir+"/new", dir+"/b/few/1"))
			})
		},
		"made again, with its inode": func(t *testing.T, dir string) {
			keep(t, dir+"/some/3", func() {
				must(t, os.Remove(dir+"/some/3"))
				write(t, dir+"/some/3", "y")
			})
		},
		"directory's mtime set back": func(t *testing.T, dir string) {
			keep(t, dir+"/some", func() { write(t, dir+"/some/new", "y") })
			keep(t, dir+"/b/few", func() { must(t, os.Remove(dir+"/b/few/1")) })
		},
		"directories traded": func(t *testing.T, dir string) {
			must(t, unix.Renameat2(unix.AT_FDCWD, dir+"/b/few", unix.AT_FDCWD, dir+"/some", unix.RENAME_EXCHANGE))
		},
		"directory replaced by a link to it": func(t *testing.T, dir string) {
			must(t, os.Rename(dir+"/b/few", dir+"/b/moved"))
			must(t, os.Symlink("moved", dir+"/b/few"))
		},
		"file replaced by a directory": func(t *testing.T, dir string) {
			must(t, os.Remove(dir+"/a"))
			must(t, os.Mkdir(dir+"/a", 0o755))
		},
		"mode": func(t *testing.T, dir string) { must(t, os.Chmod(dir+"/many/100", 0o755)) },
		"mode of a directory": func(t *testing.T, dir string) {
			must(t, os.Chmod(dir+"/b/few", 0o700))
		},
		"through another name": func(t *testing.T, dir string) {
			keep(t, dir+"/g/h", func() {
				other := filepath.Join(t.TempDir(), "other")
				must(t, os.Link(dir+"/g/h", other))
				write(t, other, "H")
				must(t, os.Remove(other))
			})
		},
	} {
		for _, tells := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, %t", name, tells), func(t *testing.T) {
				if !tells {
					forgetFileSystems(t)
				}
				dir, c := filepath.Join(t.TempDir(), "src"), openCache(t)
				fillTree(t, dir, wide())
				agree(t, "at first", dir, Options{}, c, c)
				tick(t)
				change(t, dir)
				agree(t, name, dir, Options{}, c, c)
			})
		}
	}
}

// forgetFileSystems has no file system known to tell of its directories.
func forgetFileSystems(t *testing.T) {
	all := tellingFileSystems
	tellingFileSystems = nil
	t.Cleanup(func() { tellingFileSystems = all })
}

// TestStatCacheRecent: what changes right after a walk may leave the stat as it is.
func TestStatCacheRecent(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "src"), openCache(t)
	just := time.Now().Add(racy / 2) // however long it takes to make the files
	c.now = func() time.Time { return just }
	fillTree(t, dir, wide())
	agree(t, "at first", dir, Options{}, c)
	cw := c.begin(&Options{})
	if cw.files != 0 {
		t.Errorf("%d files are trusted that have changed just now", cw.files)
	}
	if k := readKnown(cw.root); k != nil && k.seen != (seen{}) {
		t.Error("a directory is trusted that has changed just now")
	}
}

// TestStatCacheDamaged: no byte of a cache can be wrong, or missing, and make a wrong id.
func TestStatCacheDamaged(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "src"), openCache(t)
	fillTree(t, dir, map[string]string{"b/c": "c", "b/d/e": "e", "f/g": "g"})
	must(t, os.Symlink("a", dir+"/l"))
	agree(t, "at first", dir, Options{}, c, c)
	tick(t)
	fillTree(t, dir, map[string]string{"b/d/e": "E"})
	whole, err := os.ReadFile(c.file)
	must(t, err)
	frozen := *c
	frozen.now = func() time.Time { return time.Time{} } // remembers nothing new
	for i := range whole {
		for what, data := range map[string][]byte{
			"flipped": append(append(bytes.Clone(whole[:i]), whole[i]^byte(1<<(i%8))), whole[i+1:]...),
			"cut":     whole[:i],
			"without": append(bytes.Clone(whole[:i]), whole[i+1:]...),
		} {
			must(t, os.WriteFile(c.file, data, 0o600))
			agree(t, fmt.Sprintf("%s at %d", what, i), dir, Options{}, &frozen)
		}
	}
	for _, other := range []string{"kiln stat cache 1\n", "kiln stat cache 3\n"} {
		must(t, os.WriteFile(c.file, append([]byte(other), whole[len(other):]...), 0o600))
		agree(t, other, dir, Options{}, c)
		if data, err := os.ReadFile(c.file); err != nil || !bytes.HasPrefix(data, []byte(cacheMagic)) {
			t.Errorf("%q: it was not written anew: %v", other, err)
		}
	}
}

// TestStatCacheAtOnce: several walks read and write one cache while the fileset changes
// between them.
func TestStatCacheAtOnce(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "src"), openCache(t)
	fillTree(t, dir, wide())
	for round := range 5 {
		want, err := Scan(context.Background(), dir, Options{})
		must(t, err)
		var wg sync.WaitGroup
		for range 4 {
			other, err := OpenStatCache(c.file)
			must(t, err)
			wg.Go(func() {
				got, err := Scan(context.Background(), dir, Options{Cache: later(other)})
				if err != nil || got != want {
					t.Errorf("round %d: got %v, %v, want %v", round, got, err, want)
				}
			})
		}
		wg.Wait()
		tick(t)
		for i := range 50 {
			must(t, os.WriteFile(fmt.Sprintf("%s/many/%03d", dir, i), []byte(fmt.Sprint(round, i)), 0o644))
		}
	}
	left, err := filepath.Glob(c.file + ".tmp-*")
	if must(t, err); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestStatCacheOptions: walks with other options may use one cache, though it serves them less.
func TestStatCacheOptions(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "src"), openCache(t)
	fillTree(t, dir, wide())
	must(t, unix.Mkfifo(dir+"/b/few/pipe", 0o600))
	keepAll, err := ParseFilters("uid=keep,gid=keep,mtime=keep,dev=keep")
	must(t, err)
	ignoring, err := ParseFilters("dev=ignore")
	must(t, err)
	all := []Options{
		{Filters: keepAll}, {Filters: ignoring}, {Filters: keepAll, Packtype: Tar}, {Filters: keepAll, Exclude: []string{"b/c", "many/1*"}},
		{Filters: ignoring, Include: []string{"b/**/e", "some"}}, {Filters: ignoring, Include: []string{"b/few/pipe", "many"}},
	}
	for i := range 3 * len(all) {
		agree(t, fmt.Sprint("options ", i), dir, all[(i*5)%len(all)], c, c)
	}
	for i, o := range all {
		own := openCache(t)
		for range 3 {
			agree(t, fmt.Sprint("own cache ", i), dir, o, own)
		}
	}
}

// TestStatCacheRandom changes a tree at random, and compares walks with and without a cache.
func TestStatCacheRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	keepAll, err := ParseFilters("uid=keep,gid=keep,mtime=keep")
	must(t, err)
	all := []Options{{}, {Filters: keepAll}, {Packtype: Tar}, {Include: []string{"b", "many/*1"}}, {Exclude: []string{"**/f*"}}}
	for _, tells := range []bool{true, false} {
		if !tells {
			forgetFileSystems(t)
		}
		dir := filepath.Join(t.TempDir(), "src")
		fillTree(t, dir, wide())
		shared := openCache(t)
		own := make([]*StatCache, len(all))
		for i := range own {
			own[i] = openCache(t)
		}
		for round := range 60 {
			tick(t)
			for range r.IntN(4) {
				change(t, r, dir)
			}
			i := r.IntN(len(all))
			agree(t, fmt.Sprintf("round %d, options %d", round, i), dir, all[i], own[i], shared)
		}
	}
}

// change changes something below dir.
func change(t *testing.T, r *rand.Rand, dir string) {
	t.Helper()
	var dirs, files []string
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			dirs = append(dirs, path)
		case e.Type().IsRegular():
			files = append(files, path)
		}
		return nil
	}))
	in, file, name := dirs[r.IntN(len(dirs))], files[r.IntN(len(files))], fmt.Sprintf("n%d", r.IntN(1000))
	info, err := os.Stat(file)
	must(t, err)
	var does error
	switch r.IntN(10) {
	case 0:
		does = os.WriteFile(file, bytes.Repeat([]byte{byte(r.IntN(256))}, int(info.Size())), 0o644)
		must(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
	case 1:
		does = os.WriteFile(filepath.Join(in, name), []byte(name), 0o644)
	case 2:
		if does = os.Remove(file); len(files) < 20 {
			does = os.WriteFile(file, []byte(name), 0o600)
		}
	case 3:
		does = os.Mkdir(filepath.Join(in, name), 0o755)
	case 4:
		does = os.Rename(file, filepath.Join(in, name))
	case 5:
		does = os.Rename(dirs[r.IntN(len(dirs))], filepath.Join(in, name))
	case 6:
		does = os.Chmod(file, 0o600|os.FileMode(r.IntN(8)))
	case 7:
		does = os.Symlink(name, filepath.Join(in, name))
	case 8:
		does = os.Chmod(in, 0o700|os.FileMode(r.IntN(8)))
	case 9:
		for i := range 3 * glances {
			does = errors.Join(does, os.WriteFile(fmt.Sprintf("%s/%s-%d", in, name, i), []byte(name), 0o644))
		}
	}
	if does != nil {
		t.Log(does) // a directory moved into itself, say
	}
}

// TestIngestThenScan: what Ingest has remembered is of what it read, not of its copy.
func TestIngestThenScan(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "src"), openCache(t)
	files := wide()
	fillTree(t, dir, files)
	want, err := Ingest(context.Background(), openLocal(t), dir, Options{Cache: c})
	must(t, err)
	if n := knownFiles(c); n != int64(len(files)) {
		t.Errorf("%d files are known, want %d", n, len(files))
	}
	got, err := Scan(context.Background(), dir, Options{Cache: c})
	must(t, err)
	if got.ID != want.ID {
		t.Errorf("got %v, want %v", got, want)
	}
	cw := c.begin(&Options{})
	var st unix.Stat_t
	must(t, unix.Stat(dir, &st))
	if k := readKnown(cw.root); k == nil || k.seen != seenOf(&st) {
		t.Error("it remembers nothing of the root")
	}
}

// TestKnownNames: where only names tell whether a directory is the same, all have to.
func TestKnownNames(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "src"), openCache(t)
	fillTree(t, dir, map[string]string{"a": "a", "b/c": "c", "d": "d"})
	agree(t, "at first", dir, Options{}, c)
	k := readKnown(c.begin(&Options{}).root)
	for names, want := range map[string]bool{"a b/ d": true, "a b/": false, "b/ d": false, "a b/ c d": false, "a b/ d e": false, "a b d": false, "a/ b/ d": false, "": false} {
		var nodes []node
		for _, name := range strings.Fields(names) {
			n := node{name: strings.TrimSuffix(name, "/"), meta: meta{kind: KindFile}}
			if n.name != name {
				n.meta.kind = KindDir
			}
			nodes = append(nodes, n)
		}
		k.match(nodes)
		if got := k.has(nodes); got != want {
			t.Errorf("%q: %t, want %t", names, got, want)
		}
	}
}
