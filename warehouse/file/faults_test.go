package file_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/stores"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// jobEnv makes the test binary a kiln of its own: "get" or "put", the directory of its
// warehouse, the URL of the store and a ware id, with spaces between.
const jobEnv = "KILN_TEST_JOB"

func TestMain(m *testing.M) {
	if job := os.Getenv(jobEnv); job != "" {
		if err := work(strings.Fields(job)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func work(job []string) error {
	ctx := context.Background()
	l, err := warehouse.OpenLocal(job[1])
	if err != nil {
		return err
	}
	defer l.Close()
	s, err := stores.Open(ctx, job[2], stores.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	id, err := warehouse.ParseWareID(job[3])
	if err != nil {
		return err
	}
	o := warehouse.Transfer{CacheDir: job[1] + "-cache"}
	var once sync.Once
	o.Progress = func(done, _ int64) {
		if done >= 1<<20 {
			once.Do(func() { fmt.Println("a megabyte") })
		}
	}
	if job[0] == "get" {
		_, err = s.Get(ctx, id, l, o)
		return err
	}
	rec, err := l.Get(id)
	if err != nil {
		return err
	}
	return s.Put(ctx, rec, l, o)
}

// start starts another kiln.
func start(t testing.TB, verb, local, store string, id warehouse.WareID) *osexec.Cmd {
	t.Helper()
	cmd := command(verb, local, store, id)
	must(t, cmd.Start())
	return cmd
}

func command(verb, local, store string, id warehouse.WareID) *osexec.Cmd {
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), jobEnv+"="+strings.Join([]string{verb, local, store, id.String()}, " "))
	cmd.Stderr = os.Stderr
	return cmd
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A world is a warehouse with a ware, a directory to put it into, and a web server that
// gives what is in that.
type world struct {
	origin *warehouse.Local
	rec    warehouse.Record
	dir    string
	url    string // of dir, over http
	local  string // where the ware is fetched to
	ranges atomic.Int32
	gets   atomic.Int32
}

func newWorld(t testing.TB, bytes int) *world {
	t.Helper()
	w := &world{origin: warehousetest.OpenLocal(t), dir: t.TempDir(), local: filepath.Join(t.TempDir(), "warehouse")}
	w.rec = warehousetest.Noise(t, w.origin, bytes, 31)
	files := nethttp.FileServer(nethttp.Dir(w.dir))
	s := httptest.NewServer(nethttp.HandlerFunc(func(rw nethttp.ResponseWriter, r *nethttp.Request) {
		if r.Header.Get("Range") != "" {
			w.ranges.Add(1)
		}
		if r.Method == "GET" {
			w.gets.Add(1)
		}
		files.ServeHTTP(rw, r)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { must(t, warehouse.RemoveTree(w.local)) })
	w.url = "ca+" + s.URL
	return w
}

func (w *world) store(t testing.TB) warehouse.Store {
	t.Helper()
	s, err := stores.Open(t.Context(), "ca+file://"+w.dir, stores.Options{})
	must(t, err)
	return s
}

// object is where the ware lies in dir.
func (w *world) object() string { return filepath.Join(w.dir, packed.Path(w.rec.ID.String())) }

// aside returns the files in dir that are no objects.
func (w *world) aside(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(w.dir + "/.put-*")
	must(t, err)
	return paths
}

// verify checks that the local warehouse at path has the ware whole or not at all, and
// nothing else. It reports which.
func (w *world) verify(t testing.TB, path string) bool {
	t.Helper()
	l, err := warehouse.OpenLocal(path)
	must(t, err)
	defer l.Close()
	recs, err := l.List(t.Context())
	must(t, err)
	for _, rec := range recs {
		if rec.ID != w.rec.ID {
			t.Errorf("%s is in the warehouse", rec.ID)
		}
		must(t, pack.Check(t.Context(), l, rec.ID))
	}
	return len(recs) > 0
}

// kills is how often something is killed.
func kills() int {
	if os.Getenv("KILN_TEST_HEAVY") != "" {
		return 200
	}
	return 25
}

// killed starts verb again and again, kills it at random moments, and has check look at
// what it left. Those that end before count too.
func (w *world) killed(t *testing.T, verb, local, store string, check func()) {
	t.Helper()
	begin := time.Now()
	must(t, start(t, verb, local, store, w.rec.ID).Wait())
	whole := time.Since(begin)
	check()
	random := rand.New(rand.NewPCG(1, uint64(kills())))
	for range kills() {
		cmd := start(t, verb, local, store, w.rec.ID)
		moment := time.AfterFunc(time.Duration(random.Int64N(int64(whole))), func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // killed or not
		moment.Stop()
		check()
		if t.Failed() {
			return
		}
	}
	must(t, start(t, verb, local, store, w.rec.ID).Wait())
	check()
}

// TestKilledGetting: whenever a kiln that fetches is killed, what is in the warehouse is
// whole, and the next one fetches the rest.
func TestKilledGetting(t *testing.T) {
	w := newWorld(t, 6<<20)
	warehousetest.Put(t, w.store(t), w.origin, w.rec)
	there := 0
	w.killed(t, "get", w.local, w.url, func() {
		if w.verify(t, w.local) {
			there++
			l, err := warehouse.OpenLocal(w.local)
			must(t, err)
			must(t, l.Remove(w.rec.ID))
			must(t, l.Close())
		}
	})
	t.Logf("of %d, %d ended before they were killed; %d went on with a part", kills()+2, there, w.ranges.Load())
	if there < 2 {
		t.Error("it never ended well")
	}
	if parts, _ := filepath.Glob(w.local + "-cache/*"); len(parts) > 0 {
		t.Errorf("left %q", parts)
	}
}

// TestKilledPutting: whenever a kiln that puts is killed, the ware is there whole or not
// at all, and what is left beside goes in time.
func TestKilledPutting(t *testing.T) {
	w := newWorld(t, 6<<20)
	there := 0
	w.killed(t, "put", w.origin.Dir(), "file://"+w.dir, func() {
		if has, err := w.store(t).Has(t.Context(), []warehouse.WareID{w.rec.ID}); err != nil || !has[0] {
			must(t, err)
			return
		}
		there++
		warehousetest.Get(t, w.store(t), w.rec)
		must(t, os.Remove(w.object()))
	})
	left := w.aside(t)
	t.Logf("of %d, %d ended before they were killed; %d left something beside", kills()+2, there, len(left))
	longAgo := time.Now().Add(-48 * time.Hour)
	for _, path := range left {
		must(t, os.Chtimes(path, longAgo, longAgo))
	}
	warehousetest.Put(t, w.store(t), w.origin, w.rec)
	if left := w.aside(t); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	warehousetest.Get(t, w.store(t), w.rec)
}

// TestKilledHalfWay kills a kiln in the middle of a transfer: the next one asks for the
// rest only.
func TestKilledHalfWay(t *testing.T) {
	w := newWorld(t, 6<<20)
	warehousetest.Put(t, w.store(t), w.origin, w.rec)
	stalls := httptest.NewServer(nethttp.HandlerFunc(func(rw nethttp.ResponseWriter, r *nethttp.Request) {
		f, err := os.Open(filepath.Join(w.dir, filepath.Clean(r.URL.Path)))
		if err != nil {
			nethttp.NotFound(rw, r)
			return
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Error(err)
		}
		rw.Header().Set("Content-Length", fmt.Sprint(info.Size()))
		_, _ = io.CopyN(rw, f, info.Size()/2)
		rw.(nethttp.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer stalls.Close()
	cmd := command("get", w.local, "ca+"+stalls.URL, w.rec.ID)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = out.Read(make([]byte, 1)) // it says when it has a megabyte
	must(t, err)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	must(t, start(t, "get", w.local, w.url, w.rec.ID).Wait()) // from elsewhere
	if !w.verify(t, w.local) || w.ranges.Load() != 1 {
		t.Errorf("%d requests for a range, want 1", w.ranges.Load())
	}
}

// TestProxy fetches from a host that only a proxy knows.
func TestProxy(t *testing.T) {
	w := newWorld(t, 1<<20)
	warehousetest.Put(t, w.store(t), w.origin, w.rec)
	files := nethttp.FileServer(nethttp.Dir(w.dir))
	var host atomic.Value
	proxy := httptest.NewServer(nethttp.HandlerFunc(func(rw nethttp.ResponseWriter, r *nethttp.Request) {
		host.Store(r.URL.Host)
		files.ServeHTTP(rw, r)
	}))
	defer proxy.Close()
	cmd := command("get", w.local, "ca+http://wares.invalid", w.rec.ID)
	cmd.Env = append(cmd.Env, "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
	must(t, cmd.Run())
	if !w.verify(t, w.local) || host.Load() != "wares.invalid" {
		t.Errorf("the proxy was asked for %v", host.Load())
	}
}

// TestEightKilns: of eight that fetch one ware at once into one warehouse one fetches, and
// of eight that put one, all succeed.
func TestEightKilns(t *testing.T) {
	w := newWorld(t, 6<<20)
	for _, c := range [][3]string{{"put", w.origin.Dir(), "file://" + w.dir}, {"get", w.local, w.url}} {
		var all []*osexec.Cmd
		for range 8 {
			all = append(all, start(t, c[0], c[1], c[2], w.rec.ID))
		}
		for _, cmd := range all {
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v", c[0], err)
			}
		}
	}
	if left := w.aside(t); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	if !w.verify(t, w.local) || w.gets.Load() != 1 {
		t.Errorf("fetched %d times", w.gets.Load())
	}
}

// tmpfs mounts a small file system.
func tmpfs(t testing.TB, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("kiln-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skip("a small file system needs root: ", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// TestFull fetches and puts where there is less and less room: it fails with that, and
// leaves nothing.
func TestFull(t *testing.T) {
	w := newWorld(t, 300<<10)
	warehousetest.Put(t, w.store(t), w.origin, w.rec)
	var got, put, full int
	for size := 64 << 10; size <= 1<<20; size += 32 << 10 {
		dir := tmpfs(t, size)
		l, err := warehouse.OpenLocal(dir + "/warehouse")
		must(t, err)
		_, err = w.store(t).Get(t.Context(), w.rec.ID, l, warehouse.Transfer{CacheDir: dir + "/cache"})
		switch {
		case err == nil:
			got++
		case !errors.Is(err, unix.ENOSPC) || errors.Is(err, warehouse.ErrMismatch):
			t.Errorf("get into %d bytes: %v", size, err)
		default:
			full++
		}
		must(t, l.Close())
		if w.verify(t, dir+"/warehouse") != (err == nil) {
			t.Errorf("get into %d bytes: %v, and the ware is not as that says", size, err)
		}
		if parts, _ := filepath.Glob(dir + "/cache/*"); len(parts) > 0 {
			t.Errorf("get into %d bytes: left %q", size, parts)
		}
	}
	for size := 64 << 10; size <= 1<<20; size += 32 << 10 {
		dir := tmpfs(t, size)
		s, err := stores.Open(t.Context(), "file://"+dir, stores.Options{})
		must(t, err)
		err = s.Put(t.Context(), w.rec, w.origin, warehouse.Transfer{})
		has, hasErr := s.Has(t.Context(), []warehouse.WareID{w.rec.ID})
		must(t, hasErr)
		switch {
		case err == nil:
			put++
		case !errors.Is(err, unix.ENOSPC) || errors.Is(err, warehouse.ErrReadOnly):
			t.Errorf("put into %d bytes: %v", size, err)
		}
		if left, _ := filepath.Glob(dir + "/.put-*"); len(left) > 0 || has[0] != (err == nil) {
			t.Errorf("put into %d bytes: %v, it is there: %v, left %q", size, err, has, left)
		}
	}
	if got == 0 || put == 0 || full == 0 {
		t.Errorf("%d got, %d were full, %d put", got, full, put)
	}
}

// TestClocks: a clock that jumps loses nothing: what is being written stays, whatever
// time it seems to be.
func TestClocks(t *testing.T) {
	w := newWorld(t, 1<<20)
	for _, age := range []time.Duration{-1000 * time.Hour, -time.Minute, time.Hour} {
		path := fmt.Sprintf("%s/.put-%d", w.dir, age)
		must(t, os.WriteFile(path, nil, 0o600))
		at := time.Now().Add(-age)
		must(t, os.Chtimes(path, at, at))
	}
	warehousetest.Put(t, w.store(t), w.origin, w.rec)
	if left := w.aside(t); len(left) != 3 {
		t.Errorf("left %q", left)
	}
	for _, at := range []time.Time{time.Unix(0, 0), time.Now().Add(1000 * time.Hour)} {
		must(t, os.Chtimes(w.object(), at, at))
		warehousetest.Get(t, w.store(t), w.rec)
	}
}
