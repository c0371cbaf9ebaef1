package reapi_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/seal"
	"github.com/kilnbuild/kiln/warehouse/serve"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// quick tries again without pauses.
var quick = retry.Policy{Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("the error is %v, want %v", err, want)
	}
}

// mixed makes a ware of small files, of a large one and of one that is sent on disk.
func mixed(t testing.TB, l *warehouse.Local) warehouse.Record {
	t.Helper()
	dir := t.TempDir()
	for i, size := range []int{10, 20_000, 300_000, 3 << 20, 9 << 20} {
		must(t, os.MkdirAll(fmt.Sprintf("%s/d%d", dir, i%3), 0o755))
		must(t, os.WriteFile(fmt.Sprintf("%s/d%d/f%d", dir, i%3, i), []byte(strings.Repeat(fmt.Sprintf("%08d", size), size/8+1)[:size]), 0o644))
	}
	rec, err := pack.Ingest(t.Context(), l, dir, pack.Options{})
	must(t, err)
	return rec
}

// get gets a ware into an empty warehouse, and checks that nothing is in there if that
// fails.
func get(t testing.TB, s warehouse.Store, id warehouse.WareID, cache string) error {
	t.Helper()
	l := warehousetest.OpenLocal(t)
	_, err := s.Get(t.Context(), id, l, warehouse.Transfer{CacheDir: cache})
	if err == nil {
		must(t, pack.Check(t.Context(), l, id))
		return nil
	}
	recs, listErr := l.List(t.Context())
	must(t, listErr)
	staged, _ := filepath.Glob(l.Dir() + "/stage/*/*")
	if len(recs) > 0 || len(staged) > 0 {
		t.Errorf("after %v there is %v, %v", err, recs, staged)
	}
	return err
}

// both runs a test with and without compression.
func both(t *testing.T, f func(t *testing.T, o reapi.Options)) {
	t.Run("plain", func(t *testing.T) { f(t, reapi.Options{Retry: quick}) })
	t.Run("compressed", func(t *testing.T) { f(t, reapi.Options{Retry: quick, Compress: reapi.CompressAlways}) })
}

// A server gives other bytes for each of the contents of a ware, in turn.
func TestLies(t *testing.T) {
	both(t, func(t *testing.T, o reapi.Options) {
		f, l := newFake(t), warehousetest.OpenLocal(t)
		rec := mixed(t, l)
		s := open(t, f.url(), o)
		defer s.Close()
		must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
		fileset, err := pack.OpenFileset(t.Context(), l, rec)
		must(t, err)
		root, _ := fileset.Root()
		for e := range fileset.Below(root) {
			d := remote.Digest{Hash: e.SHA256, Size: e.Size}
			if e.Kind != pack.KindFile {
				continue
			}
			right := f.blobs[d]
			for name, wrong := range map[string][]byte{
				"other": append([]byte("!"), right[1:]...), "short": right[1:], "long": append(right[:len(right):len(right)], '!'), "empty": nil,
			} {
				f.mu.Lock()
				f.blobs[d] = wrong
				f.mu.Unlock()
				if err := get(t, s, rec.ID, t.TempDir()); !errors.Is(err, warehouse.ErrMismatch) {
					t.Errorf("%s, %s: %v", e.Path, name, err)
				}
			}
			f.mu.Lock()
			f.blobs[d] = right
			f.mu.Unlock()
		}
		must(t, get(t, s, rec.ID, ""))
	})
}

// A server says that it compresses, and sends something else, or far too much.
func TestLiesAboutCompression(t *testing.T) {
	f, l := newFake(t), warehousetest.OpenLocal(t)
	s := open(t, f.url(), reapi.Options{Retry: quick, Compress: reapi.CompressAlways})
	defer s.Close()
	rec, large := warehousetest.Small(t, l, "small"), warehousetest.Noise(t, l, 3<<20, 1)
	for _, rec := range []warehouse.Record{rec, large} {
		must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
	}
	bomb := zip(make([]byte, 256<<20))
	for name, data := range map[string][]byte{"garbage": []byte("garbage"), "nothing": nil, "bomb": bomb, "cut off": bomb[:len(bomb)/2]} {
		f.hook(hooks{mangle: func(b *remote.BlobRead) { b.Data, b.Compressor = data, remote.Zstd }})
		is(t, get(t, s, rec.ID, ""), warehouse.ErrMismatch)
		f.hook(hooks{piece: func(_ string, n int64, _ []byte) ([]byte, error) {
			if n > 0 {
				return nil, io.EOF
			}
			return data[:min(len(data), 1<<20)], nil
		}})
		if err := get(t, s, large.ID, ""); !errors.Is(err, warehouse.ErrMismatch) {
			t.Errorf("%s as a stream: %v", name, err)
		}
	}
	f.hook(hooks{mangle: func(b *remote.BlobRead) { b.Compressor = 7 }})
	is(t, get(t, s, rec.ID, ""), warehouse.ErrMismatch)
}

// Streams break, once or always, or end as if that was all.
func TestBrokenStreams(t *testing.T) {
	both(t, func(t *testing.T, o reapi.Options) {
		l := warehousetest.OpenLocal(t)
		rec := warehousetest.Noise(t, l, 9<<20, 3)
		for name, end := range map[string]error{"broken": grpc.Errorf(grpc.Unavailable, "restarting"), "ended": io.EOF} {
			f := newFake(t)
			s := open(t, f.url(), o)
			defer s.Close()
			var mu sync.Mutex
			breaks, after := 3, int64(1<<20)
			f.piece = func(_ string, sent int64, data []byte) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				if breaks > 0 && sent >= after {
					breaks--
					return nil, end
				}
				return data, nil
			}
			if name == "ended" {
				breaks = 0 // an upload is never ended so
			}
			must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
			breaks = 3
			must(t, get(t, s, rec.ID, t.TempDir()))
			if f.offsets[len(f.offsets)-1] == 0 {
				t.Errorf("%s: what was there was read again: %v", name, f.offsets)
			}
			breaks, after = 1<<30, 0
			err := get(t, s, rec.ID, t.TempDir())
			if name == "ended" {
				is(t, err, warehouse.ErrMismatch)
			} else if grpc.CodeOf(err) != grpc.Unavailable {
				t.Errorf("broken always: %v", err)
			}
		}
	})
}

// However often a stream breaks, it goes on as long as it gets on.
func TestManyBreaks(t *testing.T) {
	f, l := newFake(t), warehousetest.OpenLocal(t)
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/large", []byte(strings.Repeat("0123456789abcde\n", 1<<20)), 0o644))
	rec, err := pack.Ingest(t.Context(), l, dir, pack.Options{})
	must(t, err)
	s := open(t, f.url(), reapi.Options{Retry: quick})
	defer s.Close()
	var mu sync.Mutex
	sent := map[string]int64{}
	f.piece = func(method string, _ int64, data []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if sent[method] += int64(len(data)); sent[method] > 1<<20 {
			sent[method] = 0
			return nil, grpc.Errorf(grpc.Unavailable, "enough for now")
		}
		return data, nil
	}
	must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
	must(t, get(t, s, rec.ID, t.TempDir()))
	if n := len(f.offsets); n < 10 {
		t.Errorf("it was read in %d parts", n)
	}
}

// What a killed process has left of a large file is not fetched again, and what of it
// is wrong is.
func TestResume(t *testing.T) {
	both(t, func(t *testing.T, o reapi.Options) {
		f, l := newFake(t), warehousetest.OpenLocal(t)
		dir := t.TempDir()
		data := make([]byte, 20<<20)
		for i := range data {
			data[i] = byte(i * i >> 9)
		}
		must(t, os.WriteFile(dir+"/large", data, 0o644))
		rec, err := pack.Ingest(t.Context(), l, dir, pack.Options{})
		must(t, err)
		s := open(t, f.url(), o)
		defer s.Close()
		must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
		part := "/reapi-" + remote.DigestOf(data).String() + ".part"
		for name, tt := range map[string]struct {
			left    []byte
			offsets string
		}{
			"half":  {data[:10<<20], "[10485760]"},
			"all":   {data, "[]"},
			"wrong": {make([]byte, 10<<20), "[10485760 0]"},
			"long":  {append(data[:len(data):len(data)], '!'), "[0]"},
		} {
			cache := t.TempDir()
			must(t, os.WriteFile(cache+part, tt.left, 0o600))
			f.offsets = nil
			must(t, get(t, s, rec.ID, cache))
			if got := fmt.Sprint(f.offsets); got != tt.offsets {
				t.Errorf("%s: read from %s, want %s", name, got, tt.offsets)
			}
			if rest, _ := filepath.Glob(cache + "/*"); len(rest) > 0 {
				t.Errorf("%s: left %v", name, rest)
			}
		}
	})
}

// A server is killed in the middle of a transfer and started again.
func TestRestart(t *testing.T) {
	l, dir := warehousetest.OpenLocal(t), t.TempDir()
	rec := warehousetest.Noise(t, l, 24<<20, 5)
	var server *serve.Server
	port, err := testenv.TakePort() // which is not given to others in between
	must(t, err)
	defer port.Release()
	start := func() {
		s, err := serve.New(serve.Options{Dir: dir, MaxBytes: 1 << 30})
		must(t, err)
		listener, err := net.Listen("tcp", port.Addr())
		must(t, err)
		server = s
		go s.Serve(listener)
	}
	start()
	defer func() { server.Close() }()
	var once sync.Once
	o := warehouse.Transfer{CacheDir: t.TempDir(), Progress: func(done, _ int64) {
		if done > 8<<20 {
			once.Do(func() { server.Close(); start() })
		}
	}}
	s := open(t, "grpc://"+port.Addr(), reapi.Options{Retry: retry.Policy{Tries: 1000, Max: time.Second}}) // until it is there again
	defer s.Close()
	must(t, s.Put(t.Context(), rec, l, o))
	once = sync.Once{}
	into := warehousetest.OpenLocal(t)
	_, err = s.Get(t.Context(), rec.ID, into, o)
	must(t, err)
	must(t, pack.Check(t.Context(), into, rec.ID))
}

// A server loses contents: before it is asked for them, and between being asked what
// it lacks and being told that all is there.
func TestLost(t *testing.T) {
	f, l := newFake(t), warehousetest.OpenLocal(t)
	rec := mixed(t, l)
	s := open(t, f.url(), reapi.Options{Retry: quick})
	defer s.Close()
	must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
	var small, large remote.Digest
	for d := range f.blobs {
		switch d.Size {
		case 20_000:
			small = d
		case 3 << 20:
			large = d
		}
	}
	for _, d := range []remote.Digest{small, large} {
		data := f.get(d)
		f.drop(d)
		err := get(t, s, rec.ID, "")
		is(t, err, warehouse.ErrMissing)
		if !strings.Contains(err.Error(), d.Hash) || !strings.Contains(err.Error(), `/f`) {
			t.Errorf("the error names not what is missing: %v", err)
		}
		f.set(d, data)
	}

	f.strict = true
	has := func() bool {
		has, err := s.Has(t.Context(), []warehouse.WareID{rec.ID})
		must(t, err)
		return has[0]
	}
	delete(f.blobs, small)
	if has() {
		t.Error("a ware of which a file is lost is there")
	}
	f.fail = func(method string, n int) error {
		if method == "UpdateActionResult" {
			f.mu.Lock()
			defer f.mu.Unlock()
			if n == 2 { // the second Put's first
				delete(f.blobs, large)
			}
		}
		return nil
	}
	must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
	if !has() {
		t.Error("it was put, and is not there")
	}
	must(t, get(t, s, rec.ID, ""))
	f.fail = func(method string, _ int) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if method == "UpdateActionResult" {
			delete(f.blobs, large)
		}
		return nil
	}
	delete(f.blobs, large)
	is(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}), warehouse.ErrMissing)
}

// A memo goes when a ware that it names goes.
func TestMemoOfLostWare(t *testing.T) {
	f, l := newFake(t), warehousetest.OpenLocal(t)
	f.strict = true
	s := open(t, f.url(), reapi.Options{Retry: quick})
	defer s.Close()
	rec, key := mixed(t, l), warehouse.StepKey(strings.Repeat("a", 64))
	secret, err := seal.New()
	must(t, err)
	sealed, err := secret.Seal(warehouse.Memo{Key: key, Outputs: map[string]warehouse.WareID{"out/put": rec.ID}})
	must(t, err)
	is(t, s.PutMemo(t.Context(), key, sealed), warehouse.ErrMissing)
	must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
	must(t, s.PutMemo(t.Context(), key, sealed))
	got, err := s.Memo(t.Context(), key)
	if err != nil || string(got) != string(sealed) {
		t.Errorf("%q, %v", got, err)
	}
	for d := range f.blobs {
		if d.Size == 300_000 {
			delete(f.blobs, d)
		}
	}
	_, err = s.Memo(t.Context(), key)
	is(t, err, warehouse.ErrMissing)
}

// A tree that kiln has not put: there are Directory messages and files, and that is all.
func TestForeignTree(t *testing.T) {
	both(t, func(t *testing.T, o reapi.Options) {
		f, l := newFake(t), warehousetest.OpenLocal(t)
		rec := mixed(t, l)
		s := open(t, f.url(), o)
		defer s.Close()
		must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
		clear(f.results)
		check := func(want bool) {
			t.Helper()
			has, err := s.Has(t.Context(), []warehouse.WareID{rec.ID})
			if err != nil || has[0] != want {
				t.Errorf("has it: %v, %v", has, err)
			}
			if err := get(t, s, rec.ID, ""); want && err != nil || !want && !errors.Is(err, warehouse.ErrMissing) {
				t.Errorf("get: %v", err)
			}
		}
		check(true)
		fileset, err := pack.OpenFileset(t.Context(), l, rec)
		must(t, err)
		for d := range fileset.Messages() {
			at := remote.Digest{Hash: d.SHA256, Size: d.Size}
			data := f.get(at)
			f.drop(at)
			check(false)
			f.set(at, data)
		}
		for d, data := range f.blobs {
			if d.Size == 20_000 {
				f.drop(d)
				check(false)
				f.set(d, data)
			}
		}
		check(true)
	})
}

// Directories that no kiln has written, under ids that are right for them.
func TestHostileDirectories(t *testing.T) {
	f := newFake(t)
	s := open(t, f.url(), reapi.Options{Retry: quick})
	defer s.Close()
	keep := func(b []byte) remote.Digest {
		d := remote.DigestOf(b)
		f.blobs[d] = b
		return d
	}
	content := keep([]byte("content"))
	file := func(name string) remote.Node { return remote.Node{Name: name, Digest: &content} }
	dir := func(nodes ...remote.Node) []byte { return grpc.Marshal(&remote.Directory{Files: nodes}) }
	deep := dir()
	for range 20_000 {
		d := keep(deep)
		deep = grpc.Marshal(&remote.Directory{Directories: []remote.Node{{Name: "d", Digest: &d}}})
	}
	for name, root := range map[string][]byte{
		"slash": dir(file("a/b")), "parent": dir(file("..")), "self": dir(file(".")), "no name": dir(file("")), "absolute": dir(file("/etc/passwd")),
		"twice": dir(file("a"), file("a")), "unsorted": dir(file("b"), file("a")), "NUL": dir(file("a\x00b")), "not kiln's": dir(file("a")),
		"deep": deep, "garbage": []byte("<html>Sign in</html>"), "no digest": dir(remote.Node{Name: "a"}),
	} {
		d := keep(root)
		id := warehouse.WareID{Packtype: pack.Tree, Hash: d.String()}
		if name != "deep" { // which has no Tree message, and asks for each depth
			message := keep(grpc.Marshal(&remote.Tree{Root: root}))
			f.results[remote.WareAction(id)] = grpc.Marshal(&remote.ActionResult{Directories: []remote.OutputDirectory{{Path: "ware", Tree: &message, Root: &d}}})
			if err := get(t, s, id, ""); !errors.Is(err, warehouse.ErrMismatch) {
				t.Errorf("%s, with a Tree message: %v", name, err)
			}
			delete(f.results, remote.WareAction(id))
		}
		if err := get(t, s, id, ""); !errors.Is(err, warehouse.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Action results that somebody else has put where a ware's is.
func TestHostileResults(t *testing.T) {
	f, l := newFake(t), warehousetest.OpenLocal(t)
	s := open(t, f.url(), reapi.Options{Retry: quick})
	defer s.Close()
	rec, other := warehousetest.Small(t, l, "one"), warehousetest.Small(t, l, "other")
	must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
	must(t, s.Put(t.Context(), other, l, warehouse.Transfer{}))
	tar := warehouse.WareID{Packtype: pack.Tar, Hash: "4z9DCTxoKkStqXQRwtf9nimpfQQ36dbndDsAPCQgECfbXt3edanUrsVKCjE9TkX2v9"}
	f.results[remote.WareAction(tar)] = f.results[remote.WareAction(other.ID)]
	is(t, get(t, s, tar, ""), warehouse.ErrMismatch)
	bad := remote.Digest{Hash: "../../etc/passwd", Size: -1}
	huge := remote.Digest{Hash: strings.Repeat("a", 64), Size: 1 << 60}
	for name, result := range map[string][]byte{
		"another ware's": f.results[remote.WareAction(other.ID)],
		"empty":          {},
		"no protobuf":    []byte("<html>"),
		"bad digests":    grpc.Marshal(&remote.ActionResult{Directories: []remote.OutputDirectory{{Tree: &bad, Root: &bad}}}),
		"huge":           grpc.Marshal(&remote.ActionResult{Directories: []remote.OutputDirectory{{Tree: &huge, Root: &huge}}}),
		"huge memo":      grpc.Marshal(&remote.ActionResult{StdoutDigest: &huge}),
	} {
		f.results[remote.WareAction(rec.ID)] = result
		if err := get(t, s, rec.ID, ""); err != nil && name != "no protobuf" { // the tree is there all the same
			t.Errorf("%s: %v", name, err)
		}
		key := warehouse.StepKey(strings.Repeat("b", 64))
		f.results[remote.MemoAction(key)] = result
		if sealed, err := s.Memo(t.Context(), key); err == nil && len(sealed) > 0 {
			t.Errorf("%s: a memo of %d bytes", name, len(sealed))
		}
	}
}

// A directory of more entries than fit into a message of gRPC.
func TestHugeDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	l, dir := warehousetest.OpenLocal(t), t.TempDir()
	for i := range 12_000 {
		must(t, os.Symlink(strings.Repeat("nowhere/", 20), fmt.Sprintf("%s/%0200d", dir, i)))
	}
	rec, err := pack.Ingest(t.Context(), l, dir, pack.Options{})
	must(t, err)
	for name, tt := range map[string]struct {
		url      string
		compress reapi.Compress
	}{
		"plain":      {newFake(t).url(), reapi.CompressNever},
		"compressed": {kilnServer(t, serve.Options{}), reapi.CompressAlways},
	} {
		s := open(t, tt.url, reapi.Options{Compress: tt.compress})
		defer s.Close()
		must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
		if err := get(t, s, rec.ID, ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The second of two wares that share most files moves little, either way.
func TestSharedFilesStay(t *testing.T) {
	both(t, func(t *testing.T, o reapi.Options) {
		f, l := newFake(t), warehousetest.OpenLocal(t)
		dir := t.TempDir()
		write := func(i, version int) {
			var b []byte
			for sum := sha256.Sum256(fmt.Append(nil, i, version)); len(b) < 20_000; sum = sha256.Sum256(sum[:]) {
				b = append(b, sum[:]...)
			}
			must(t, os.MkdirAll(fmt.Sprintf("%s/d%d", dir, i%20), 0o755))
			must(t, os.WriteFile(fmt.Sprintf("%s/d%d/f%d", dir, i%20, i), b, 0o644))
		}
		ingest := func() warehouse.Record {
			rec, err := pack.Ingest(t.Context(), l, dir, pack.Options{})
			must(t, err)
			return rec
		}
		for i := range 400 {
			write(i, 1)
		}
		first := ingest()
		for i := range 20 {
			write(i*20+i%20, 2)
		}
		second := ingest()
		s, into := open(t, f.url(), o), warehousetest.OpenLocal(t)
		defer s.Close()
		moved := func(do func() error) float64 {
			before := f.bytes.Load()
			must(t, do())
			return float64(f.bytes.Load()-before) / float64(second.Bytes)
		}
		must(t, s.Put(t.Context(), first, l, warehouse.Transfer{}))
		put := moved(func() error { return s.Put(t.Context(), second, l, warehouse.Transfer{}) })
		_, err := s.Get(t.Context(), first.ID, into, warehouse.Transfer{})
		must(t, err)
		got := moved(func() error {
			_, err := s.Get(t.Context(), second.ID, into, warehouse.Transfer{})
			return err
		})
		must(t, pack.Check(t.Context(), into, second.ID))
		t.Logf("put moved %.1f %% of the bytes, get %.1f %%", 100*put, 100*got)
		if put > 0.1 || got > 0.1 {
			t.Errorf("put moved %.1f %% of the bytes, get %.1f %%: want less than 10 %%", 100*put, 100*got)
		}
	})
}

// A file here that should be what is fetched, but was changed on disk, is not used.
func TestDamagedHere(t *testing.T) {
	f, l := newFake(t), warehousetest.OpenLocal(t)
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/shared", make([]byte, 400_000), 0o644))
	first, err := pack.Ingest(t.Context(), l, dir, pack.Options{})
	must(t, err)
	must(t, os.WriteFile(dir+"/more", []byte("more"), 0o644))
	second, err := pack.Ingest(t.Context(), l, dir, pack.Options{})
	must(t, err)
	s, into := open(t, f.url(), reapi.Options{}), warehousetest.OpenLocal(t)
	defer s.Close()
	must(t, s.Put(t.Context(), second, l, warehouse.Transfer{}))
	must(t, s.Put(t.Context(), first, l, warehouse.Transfer{}))
	rec, err := s.Get(t.Context(), first.ID, into, warehouse.Transfer{})
	must(t, err)
	path := into.Fileset(rec) + "/shared"
	must(t, os.Chmod(path, 0o644))
	must(t, os.WriteFile(path, make([]byte, 399_999), 0o644))
	_, err = s.Get(t.Context(), second.ID, into, warehouse.Transfer{})
	must(t, err)
	must(t, pack.Check(t.Context(), into, second.ID))
}

// Calls fail for reasons that pass.
func TestPassingFailures(t *testing.T) {
	f, l := newFake(t), warehousetest.OpenLocal(t)
	rec := mixed(t, l)
	s := open(t, f.url(), reapi.Options{Retry: quick})
	defer s.Close()
	must(t, s.PutMemo(t.Context(), warehouse.StepKey(strings.Repeat("c", 64)), []byte("{}"))) // it was reached
	last := map[string]int{}
	f.fail = func(method string, n int) error { // each second call
		f.mu.Lock()
		defer f.mu.Unlock()
		if last[method]++; last[method]%2 == 1 {
			return grpc.Errorf([]grpc.Code{grpc.Unavailable, grpc.ResourceExhausted, grpc.Aborted}[n%3], "later")
		}
		return nil
	}
	must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
	must(t, get(t, s, rec.ID, ""))
}

// A large file that has come whole stays until the ware is.
func TestPartsStay(t *testing.T) {
	f, l := newFake(t), warehousetest.OpenLocal(t)
	rec := mixed(t, l)
	s := open(t, f.url(), reapi.Options{Retry: quick})
	defer s.Close()
	must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
	var lost remote.Digest
	for d := range f.blobs {
		if d.Size == 300_000 {
			lost = d
		}
	}
	cache := t.TempDir()
	came := make(chan struct{})
	var once sync.Once
	f.mangle = func(b *remote.BlobRead) {
		if b.Digest == lost {
			<-came
			b.Status = &remote.Status{Code: int32(grpc.NotFound)}
		}
	}
	_, err := s.Get(t.Context(), rec.ID, warehousetest.OpenLocal(t), warehouse.Transfer{CacheDir: cache, Progress: func(done, total int64) {
		if done >= total-400_000 {
			once.Do(func() { close(came) })
		}
	}})
	is(t, err, warehouse.ErrMissing)
	f.hook(hooks{})
	parts, _ := filepath.Glob(cache + "/*.part")
	if len(parts) != 1 {
		t.Fatalf("left %v", parts)
	}
	f.offsets = nil
	must(t, get(t, s, rec.ID, cache))
	if len(f.offsets) != 1 { // of 3 MiB, which is kept nowhere
		t.Errorf("read from %v", f.offsets)
	}
	if rest, _ := filepath.Glob(cache + "/*"); len(rest) > 0 {
		t.Errorf("left %v", rest)
	}
}

// A Get that was ended goes on with the small files that it had.
func TestJournal(t *testing.T) {
	both(t, func(t *testing.T, o reapi.Options) {
		f, l := newFake(t), warehousetest.OpenLocal(t)
		dir := t.TempDir()
		for i := range 60 {
			must(t, os.WriteFile(fmt.Sprintf("%s/f%d", dir, i), []byte(strings.Repeat(fmt.Sprintf("%07d\n", i), 40_000)), 0o644))
		}
		rec, err := pack.Ingest(t.Context(), l, dir, pack.Options{})
		must(t, err)
		s := open(t, f.url(), o)
		defer s.Close()
		must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
		cache := t.TempDir()
		journal := cache + "/reapi-tree-" + rec.Tree.Hash + ".journal"
		ctx, cancel := context.WithCancel(t.Context())
		_, err = s.Get(ctx, rec.ID, warehousetest.OpenLocal(t), warehouse.Transfer{CacheDir: cache, Progress: func(done, _ int64) {
			if done > 14<<20 { // six batches of 2 MiB may have come and not be kept
				cancel()
			}
		}})
		is(t, err, context.Canceled)
		kept, err := os.ReadFile(journal)
		must(t, err)
		if len(kept) < 3<<19 {
			t.Fatalf("%d bytes were kept", len(kept))
		}
		fetched := func(journalData []byte) int {
			must(t, os.WriteFile(journal, journalData, 0o600))
			before := f.count("BatchReadBlobs") // a call that was given up may still be counted
			must(t, get(t, s, rec.ID, cache))
			if rest, _ := filepath.Glob(cache + "/*"); len(rest) > 0 {
				t.Errorf("left %v", rest)
			}
			return f.count("BatchReadBlobs") - before
		}
		all := fetched(nil)
		if n := fetched(kept); n >= all {
			t.Errorf("%d calls, without anything kept %d", n, all)
		}
		fetched(kept[:len(kept)-1000])
		fetched(append(kept[:len(kept):len(kept)], make([]byte, 100)...))
		kept[len(kept)/2] ^= 1
		fetched(kept)
		fetched(make([]byte, 1<<20))
		fetched([]byte(strings.Repeat("\xff", 1000)))
	})
}
