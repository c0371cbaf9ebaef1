package warehouse

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/dirlock"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openLocal(t testing.TB) *Local {
	t.Helper()
	dir := t.TempDir()
	l, err := OpenLocal(filepath.Join(dir, "warehouse"))
	must(t, err)
	t.Cleanup(func() {
		l.Close()
		must(t, RemoveTree(dir))
	})
	return l
}

func id(s string) WareID { return WareID{Packtype: "tree", Hash: s} }

// stage makes a staged fileset with one file in a read-only directory.
func stage(t testing.TB, l *Local) string {
	t.Helper()
	dir, err := l.Stage("test")
	must(t, err)
	must(t, os.Mkdir(dir+"/sub", 0o755))
	must(t, os.WriteFile(dir+"/sub/f", []byte("content"), 0o444))
	must(t, os.Chmod(dir+"/sub", 0o555))
	must(t, os.Chmod(dir, 0o555))
	return dir
}

func TestCommit(t *testing.T) {
	l := openLocal(t)
	if _, err := l.Get(id("abcd")); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "tree:abcd") {
		t.Errorf("before: %v", err)
	}
	staged := stage(t, l)
	want := Record{ID: id("abcd"), Tree: id("abcd"), Entries: 3, Bytes: 7, Stamp: "s", Dirs: []byte("messages")}
	must(t, l.Commit(staged, want))
	got, err := l.Get(id("abcd"))
	must(t, err)
	if got.ID != want.ID || got.Stamp != "s" || got.Entries != 3 || got.Created.IsZero() || string(got.Dirs) != "messages" {
		t.Errorf("got %+v", got)
	}
	info, err := os.Stat(l.Fileset(got))
	if err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("fileset %v, %v", info, err)
	}
	data, err := os.ReadFile(l.Fileset(got) + "/sub/f")
	if string(data) != "content" || err != nil {
		t.Errorf("content %q, %v", data, err)
	}

	// Once more: the first one stays, the staged one goes.
	first, err := os.Stat(l.Fileset(got))
	must(t, err)
	must(t, l.Commit(stage(t, l), want))
	again, err := os.Stat(l.Fileset(got))
	if err != nil || !os.SameFile(first, again) {
		t.Error("a second commit replaced the fileset")
	}
	must(t, l.Restamp(want.ID, "t"))
	if got, err = l.Get(want.ID); err != nil || got.Stamp != "t" || string(got.Dirs) != "messages" {
		t.Errorf("restamped: %+v, %v", got, err)
	}
	must(t, l.Remove(want.ID))
	must(t, l.Remove(want.ID))
	if l.Has(want.ID) {
		t.Error("still there")
	}
	empty(t, l)
}

// empty checks that the warehouse holds neither wares nor leftovers.
func empty(t *testing.T, l *Local) {
	t.Helper()
	for _, pattern := range []string{"stage/*/*", "work/*", "work/.*", "fileset/*/*", "record/*/*"} {
		if left, err := filepath.Glob(filepath.Join(l.Dir(), pattern)); len(left) > 0 || err != nil {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

func TestCommitOverDeadOne(t *testing.T) {
	l := openLocal(t)
	rec := Record{ID: id("abcd"), Tree: id("abcd")}
	must(t, l.Commit(stage(t, l), rec))
	// A commit that died before its record, its fileset not all on disk; and a
	// record that did not all reach the disk.
	p, err := l.place(rec.ID)
	must(t, err)
	for _, damage := range []func() error{
		func() error { return os.Remove(p.record) },
		func() error { return os.Truncate(p.record, 0) },
		func() error { return os.Truncate(p.record, 20) },
	} {
		must(t, damage())
		must(t, os.Chmod(p.fileset+"/sub/f", 0o644))
		must(t, os.Truncate(p.fileset+"/sub/f", 0))
		if _, err := l.Get(rec.ID); !errors.Is(err, ErrMissing) {
			t.Errorf("damaged: %v", err)
		}
		must(t, l.Commit(stage(t, l), rec))
		data, err := os.ReadFile(l.Fileset(rec) + "/sub/f")
		if string(data) != "content" || err != nil || !l.Has(rec.ID) {
			t.Errorf("content %q, %v", data, err)
		}
	}
	must(t, l.Remove(rec.ID))
	empty(t, l)
}

func TestLargeDirs(t *testing.T) {
	l := openLocal(t)
	rec := Record{ID: id("abcd"), Tree: id("abcd"), Dirs: []byte(strings.Repeat("d", 100_000))}
	must(t, l.Commit(stage(t, l), rec))
	got, err := l.Get(rec.ID)
	must(t, err)
	if len(got.Dirs) != 0 {
		t.Error("a record carries large messages")
	}
	dirs, err := l.Dirs(got)
	if string(dirs) != string(rec.Dirs) || err != nil {
		t.Errorf("got %d bytes, %v", len(dirs), err)
	}
	must(t, l.Remove(rec.ID))
	empty(t, l)
}

func TestBadIDs(t *testing.T) {
	l := openLocal(t)
	for _, bad := range []WareID{{}, id(""), id("a"), id("../../x"), {"..", "abcd"}, {"", "abcd"}, {"tree", "ab/cd"}, {"tree", "ab:cd"}} {
		if _, err := l.Get(bad); err == nil || errors.Is(err, ErrMissing) {
			t.Errorf("%q: %v", bad, err)
		}
		if err := l.Commit(l.WorkDir()+"/x", Record{ID: bad}); err == nil {
			t.Errorf("%q: committed", bad)
		}
	}
}

func TestListAndFind(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	for _, hash := range []string{"cdef", "abcd", "abef"} {
		must(t, l.Commit(stage(t, l), Record{ID: id(hash), Tree: id(hash), Dirs: make([]byte, 10_000)}))
	}
	recs, err := l.List(ctx)
	must(t, err)
	var got []string
	for _, rec := range recs {
		got = append(got, rec.ID.String())
	}
	if strings.Join(got, " ") != "tree:abcd tree:abef tree:cdef" {
		t.Errorf("got %v", got)
	}
	for prefix, want := range map[string]string{
		"tree:abcd": "tree:abcd", "tree:c": "tree:cdef", "abe": "tree:abef",
		"ab": "", "tree:": "", "x": "", "tar:abcd": "",
	} {
		rec, err := l.Find(ctx, prefix)
		if rec.ID.String() != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %s, %v", prefix, rec.ID, err)
		}
	}
	must(t, os.WriteFile(l.Dir()+"/record/tree/abcd.json", []byte("{"), 0o644))
	recs, err = l.List(ctx)
	if len(recs) != 2 || err == nil || !strings.Contains(err.Error(), "tree:abcd") {
		t.Errorf("with a damaged record: %d, %v", len(recs), err)
	}
}

// TestMain lets the test binary be a process that commits until it is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("KILN_TEST_COMMIT")
	if dir == "" {
		os.Exit(m.Run())
	}
	l, err := OpenLocal(dir)
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		ware := id(fmt.Sprintf("aa%02d", i%20))
		staged, err := l.Stage("test")
		if err == nil {
			err = os.WriteFile(staged+"/f", []byte(ware.Hash), 0o644)
		}
		if err == nil {
			err = l.Commit(staged, Record{ID: ware, Tree: ware})
		}
		if err == nil && i%3 == 2 {
			err = l.Remove(id(fmt.Sprintf("aa%02d", i*7%20)))
		}
		if err != nil {
			panic(err)
		}
		if i == 0 {
			fmt.Println("started")
		}
	}
}

// TestKilled has two processes commit and remove the same wares, and kills one at a
// time at no particular point.
func TestKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "warehouse")
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "KILN_TEST_COMMIT="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	other := start()
	for i := range 10 {
		cmd := start()
		time.AfterFunc(time.Duration(i)*time.Millisecond, func() { cmd.Process.Kill() })
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatal("it ended by itself: ", err)
		}
	}
	other.Process.Kill()
	if err := other.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatal("the other one ended by itself: ", err)
	}
	l, err := OpenLocal(dir)
	must(t, err)
	defer l.Close()
	recs, err := l.List(context.Background())
	must(t, err)
	for _, rec := range recs {
		data, err := os.ReadFile(l.Fileset(rec) + "/f")
		if string(data) != rec.ID.Hash || err != nil {
			t.Errorf("%s holds %q, %v", rec.ID, data, err)
		}
	}
	// Whatever was left half way is no hindrance.
	for i := range 20 {
		ware := id(fmt.Sprintf("aa%02d", i))
		must(t, l.Commit(stage(t, l), Record{ID: ware, Tree: ware}))
		must(t, l.Remove(ware))
	}
}

// TestSweep has a stage directory that is held, and one as a killed process leaves it.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"live", "dead"} {
		must(t, os.MkdirAll(filepath.Join(dir, name, "ingest-1/sub"), 0o755))
		must(t, os.Chmod(filepath.Join(dir, name, "ingest-1"), 0o500))
	}
	lock, err := dirlock.Lock(dir+"/live", unix.LOCK_EX|unix.LOCK_NB)
	must(t, err)
	sweep(dir)
	left, err := filepath.Glob(dir + "/*")
	if len(left) != 1 || left[0] != dir+"/live" || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := os.Stat(dir + "/live/ingest-1/sub"); err != nil {
		t.Error(err)
	}
	must(t, lock.Close())
	sweep(dir)
	if left, err := filepath.Glob(dir + "/*"); len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestConcurrentCommits(t *testing.T) {
	l := openLocal(t)
	twin, err := OpenLocal(l.Dir())
	must(t, err)
	defer twin.Close()
	var wg sync.WaitGroup
	for i := range 40 {
		l := []*Local{l, twin}[i%2]
		staged := stage(t, l)
		wg.Go(func() {
			if err := l.Commit(staged, Record{ID: id(fmt.Sprintf("ab%02d", i/8)), Stamp: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	recs, err := l.List(context.Background())
	if len(recs) != 5 || err != nil {
		t.Errorf("%d wares, %v", len(recs), err)
	}
	for _, rec := range recs {
		must(t, l.Remove(rec.ID))
	}
	empty(t, l)
}

// TestFull commits on a file system with no room left for a record.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("kiln-test", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("a small file system needs root: ", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	l, err := OpenLocal(dir)
	must(t, err)
	defer l.Close()
	staged := stage(t, l)
	fill, err := os.Create(dir + "/fill")
	must(t, err)
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	must(t, fill.Close())
	rec := Record{ID: id("abcd"), Tree: id("abcd")}
	if err := l.Commit(staged, rec); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "tree:abcd") {
		t.Errorf("commit: %v", err)
	}
	if l.Has(rec.ID) {
		t.Error("a ware without a record is there")
	}
	m, err := OpenMemos(dir + "/memo")
	must(t, err)
	key := StepKey(strings.Repeat("0", 64))
	if err := m.Put(Memo{Key: key}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("memo: %v", err)
	}
	if _, err := m.Get(key); !errors.Is(err, ErrMissing) {
		t.Errorf("memo: %v", err)
	}
	must(t, os.Remove(dir+"/fill"))
	must(t, l.Commit(stage(t, l), rec))
	must(t, m.Put(Memo{Key: key}))
	must(t, l.Remove(rec.ID))
	empty(t, l)
}

func TestSetgidParent(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Chmod(dir, 0o2755))
	l, err := OpenLocal(dir + "/kiln/warehouse")
	must(t, err)
	defer l.Close()
	staged, err := l.Stage("x")
	must(t, err)
	info, err := os.Stat(staged)
	if err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("staged directory is %v, %v", info.Mode(), err)
	}
}

func TestRemoveTree(t *testing.T) {
	top := t.TempDir()
	keep := filepath.Join(top, "keep")
	must(t, os.WriteFile(keep, nil, 0o644))
	dir := filepath.Join(top, "gone")
	must(t, os.MkdirAll(dir+"/locked/below", 0o755))
	must(t, os.Symlink(keep, dir+"/link"))
	must(t, os.Symlink(top, dir+"/locked/up"))
	must(t, os.Chmod(dir+"/locked/below", 0))
	must(t, os.Chmod(dir+"/locked", 0o500))
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for range 4000 {
		for _, name := range []string{"d", "e"} {
			must(t, unix.Mkdirat(fd, name, 0o755))
		}
		next, err := openDir(fd, "d")
		must(t, err)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	must(t, RemoveTree(dir))
	must(t, RemoveTree(dir))
	left, err := os.ReadDir(top)
	if len(left) != 1 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestReader: what is opened to be read is not written to, nor made.
func TestReader(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "none")
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	if recs, err := r.List(ctx); len(recs) > 0 || err != nil {
		t.Errorf("listed %v, %v", recs, err)
	}
	id := WareID{"tree", "abcd-1"}
	if _, err := r.Find(ctx, "tree:abcd"); !errors.Is(err, ErrMissing) {
		t.Errorf("found %v", err)
	}
	_, stageErr := r.Stage("x")
	for what, err := range map[string]error{
		"stage": stageErr, "remove": r.Remove(id), "restamp": r.Restamp(id, "x"), "commit": r.Commit(dir+"/work/x", Record{ID: id}),
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := errors.Join(r.Sync(), r.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it made the directory")
	}
}

// TestFindAmbiguous names all the wares that a prefix could mean.
func TestFindAmbiguous(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	for _, id := range []WareID{{"tree", "abcd-1"}, {"tree", "abce-1"}, {"tar", "abX"}} {
		dir, err := l.Stage("x")
		if err == nil {
			err = l.Commit(dir, Record{ID: id, Tree: id})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for prefix, want := range map[string]int{"ab": 3, "tree:": 2, "tree:abc": 2, "t": 3} {
		_, err := l.Find(ctx, prefix)
		var ambiguous *AmbiguousError
		if !errors.As(err, &ambiguous) || len(ambiguous.IDs) != want {
			t.Errorf("%q: %v", prefix, err)
		}
	}
	for _, prefix := range []string{"tree:abcd", "abce", "tar", "abX"} {
		if _, err := l.Find(ctx, prefix); err != nil {
			t.Error(err)
		}
	}
	for _, prefix := range []string{"", "x", "abx", "tree:abX"} {
		if rec, err := l.Find(ctx, prefix); err == nil {
			t.Errorf("%q: found %s", prefix, rec.ID)
		}
	}
}
