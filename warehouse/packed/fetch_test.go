package packed

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A place gives one object, not always well.
type place struct {
	data     []byte
	version  string
	unsized  bool
	noRanges bool
	err      error // when it breaks off; nil: errBroken
	breaks   []int // how many bytes come before each answer breaks off
	mu       sync.Mutex
	asked    []string
}

var errBroken = errors.New("the connection broke")

func (p *place) open(_ context.Context, offset int64, version string) (*Object, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, fmt.Sprintf("%d %s", offset, version))
	if p.noRanges || version != "" && version != p.version || offset > int64(len(p.data)) {
		offset = 0
	}
	rest := p.data[offset:]
	var r io.Reader = bytes.NewReader(rest)
	if len(p.breaks) > 0 {
		n := min(p.breaks[0], len(rest))
		p.breaks = p.breaks[1:]
		r = io.MultiReader(bytes.NewReader(rest[:n]), broken{cmp.Or(p.err, errBroken)})
	}
	size := int64(len(p.data))
	if p.unsized {
		size = -1
	}
	return &Object{ReadCloser: io.NopCloser(r), Info: Info{size, p.version}, Offset: offset}, nil
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// text is n bytes of which no two parts are alike.
func text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d ", i)
	}
	return b.Bytes()[:n]
}

// fetch makes a Fetch of p, and a use that takes want for right.
func (p *place) fetch(dir, from string, want []byte) (*Fetch, func(*Incoming) error, *[]byte) {
	f := &Fetch{Open: p.open, From: from, Key: "key", Dir: dir, Proven: want != nil,
		Retry: retry.Policy{Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}}
	got := new([]byte)
	return f, func(in *Incoming) (err error) {
		if *got, err = io.ReadAll(in); err == nil && want != nil && !bytes.Equal(*got, want) {
			err = warehouse.ErrMismatch
		}
		return err
	}, got
}

func left(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(dir + "/*")
	must(t, err)
	return paths
}

// TestFetchBreaksOff: reading that breaks off goes on where it was, from a place that can
// do that, and of the same version only.
func TestFetchBreaksOff(t *testing.T) {
	data := text(3 << 20)
	for _, c := range []struct {
		name   string
		place  *place
		proven bool
		asked  string
	}{
		{"ranges", &place{version: "v"}, true, "0 ;100000 v;2000000 v"},
		{"ranges, not proven", &place{version: "v"}, false, "0 ;100000 v;2000000 v"},
		{"no version", &place{}, true, "0 ;100000 ;2000000 "},
		{"no version, not proven", &place{}, false, "0 ;0 ;0 "},
		{"no ranges", &place{version: "v", noRanges: true}, true, "0 ;100000 v;1900000 v"},
		{"no size", &place{version: "v", unsized: true}, true, "0 ;100000 v;2000000 v"},
		{"at the end", &place{version: "v", breaks: []int{len(data)}}, true, fmt.Sprintf("0 ;%d v", len(data)-1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, dir := c.place, t.TempDir()
			p.data = data
			if p.breaks == nil {
				p.breaks = []int{100_000, 1_900_000}
			}
			want := data
			if !c.proven {
				want = nil
			}
			f, use, got := p.fetch(dir, "a", want)
			var last, total int64
			f.Progress = func(done, of int64) { last, total = done, of }
			must(t, f.Do(t.Context(), use))
			if !bytes.Equal(*got, data) || strings.Join(p.asked, ";") != c.asked {
				t.Errorf("%d bytes, asked %q, want %q", len(*got), p.asked, c.asked)
			}
			if last != int64(len(data)) || total != last && !p.unsized {
				t.Errorf("told %d of %d", last, total)
			}
			if paths := left(t, dir); len(paths) > 0 {
				t.Errorf("left %q", paths)
			}
		})
	}
}

// TestFetchKeepsOn: a place that breaks off again and again is asked as long as it moves,
// and no longer.
func TestFetchKeepsOn(t *testing.T) {
	p := &place{data: text(14 << 20), version: "v"}
	for range 12 {
		p.breaks = append(p.breaks, 1<<20)
	}
	f, use, got := p.fetch(t.TempDir(), "a", p.data)
	must(t, f.Do(t.Context(), use))
	if !bytes.Equal(*got, p.data) {
		t.Error("other bytes")
	}
	p = &place{data: p.data, version: "v", breaks: make([]int, 100)}
	f, use, _ = p.fetch(t.TempDir(), "a", p.data)
	if err := f.Do(t.Context(), use); !errors.Is(err, errBroken) || len(p.asked) != 5 {
		t.Errorf("after %d tries: %v", len(p.asked), err)
	}
}

// TestFetchHurried: a place that moves and is silent again and again is not kept on with
// while another can be asked.
func TestFetchHurried(t *testing.T) {
	for _, c := range []struct {
		ctx   context.Context
		tries int
	}{{t.Context(), 10}, {retry.Hurried(t.Context()), 2}} {
		p := &place{data: text(14 << 20), version: "v", err: retry.Silent(errBroken)}
		for range 5 {
			p.breaks = append(p.breaks, 1<<20, 1<<20)
		}
		f, use, _ := p.fetch(t.TempDir(), "a", p.data)
		err := f.Do(c.ctx, use)
		if c.tries > 2 != (err == nil) || len(p.asked) < c.tries || c.tries == 2 && len(p.asked) != 2 {
			t.Errorf("asked %d times: %v", len(p.asked), err)
		}
	}
}

// interrupted leaves a part of n bytes of p in dir.
func (p *place) interrupted(t *testing.T, dir, from string, n int, proven []byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f, use, _ := p.fetch(dir, from, proven)
	open := f.Open
	f.Open = func(ctx context.Context, offset int64, version string) (*Object, error) {
		if offset > 0 {
			cancel()
			return nil, ctx.Err()
		}
		return open(ctx, offset, version)
	}
	p.breaks = []int{n}
	if err := f.Do(ctx, use); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	p.breaks, p.asked = nil, nil
	if paths := left(t, dir); len(paths) != 2 {
		t.Fatalf("left %q", paths)
	}
}

// TestFetchGoesOn: the next Fetch goes on with what one left, also of another place that
// has an object of the same size, and begins anew where the bytes may be others.
func TestFetchGoesOn(t *testing.T) {
	data, other := text(1<<20), bytes.Repeat([]byte("other"), 1<<18)
	for _, c := range []struct {
		name  string
		place *place
		from  string
		asked string
		whole string // if nobody had begun to read when the place answered with all of it
	}{
		{"same", &place{data: data, version: "v"}, "a", "200000 v", ""},
		{"other place", &place{data: data, version: "w"}, "b", "200000 ", ""},
		{"other version", &place{data: other, version: "w"}, "a", "200000 v;0 ", "200000 v"},
		{"other place and size", &place{data: other, version: "w"}, "b", "200000 ;0 ", ""},
		{"shorter", &place{data: data[:100_000], version: "w"}, "b", "200000 ;0 ", "200000 "},
		{"other bytes of one size", &place{data: slices.Concat([]byte("x"), data[1:]), version: "w"}, "b", "200000 ;0 ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			(&place{data: data, version: "v"}).interrupted(t, dir, "a", 200_000, data)
			p := c.place
			f, use, got := p.fetch(dir, c.from, p.data)
			must(t, f.Do(t.Context(), use))
			asked := strings.Join(p.asked, ";")
			if !bytes.Equal(*got, p.data) || asked != c.asked && (c.whole == "" || asked != c.whole) {
				t.Errorf("%d bytes, asked %q, want %q", len(*got), asked, c.asked)
			}
			if paths := left(t, dir); len(paths) > 0 {
				t.Errorf("left %q", paths)
			}
		})
	}
}

// TestFetchAfterPowerCut: bytes of no known hash do not count when the machine was
// started since, and a part that nobody knows the origin of never does.
func TestFetchAfterPowerCut(t *testing.T) {
	data := text(1 << 20)
	for name, spoil := range map[string]func(text string) string{
		"started":  func(text string) string { return strings.Replace(text, bootID(), "before", 1) },
		"no boot":  func(string) string { return `{"from":"a","version":"v","size":1048576}` },
		"cut":      func(text string) string { return text[:10] },
		"empty":    func(string) string { return "" },
		"too long": func(text string) string { return strings.Replace(text, "1048576", "5", 1) },
	} {
		dir := t.TempDir()
		p := &place{data: data, version: "v"}
		p.interrupted(t, dir, "a", 200_000, nil)
		paths := left(t, dir)
		known, err := os.ReadFile(paths[1])
		must(t, err)
		must(t, os.WriteFile(paths[1], []byte(spoil(string(known))), 0o600))
		must(t, os.WriteFile(paths[0], make([]byte, 200_000), 0o600))
		f, use, got := p.fetch(dir, "a", nil)
		must(t, f.Do(t.Context(), use))
		if !bytes.Equal(*got, data) {
			t.Errorf("%s: other bytes, asked %q", name, p.asked)
		}
	}
}

// TestFetchDamagedPart: a part that has been damaged is thrown away, and all is fetched
// once more, not twice.
func TestFetchDamagedPart(t *testing.T) {
	data := text(1 << 20)
	for _, lies := range []bool{false, true} {
		dir := t.TempDir()
		p := &place{data: data, version: "v"}
		p.interrupted(t, dir, "a", 200_000, data)
		must(t, os.WriteFile(left(t, dir)[0], make([]byte, 200_000), 0o600))
		want := data
		if lies {
			want = text(1<<20 - 1)
		}
		f, use, _ := p.fetch(dir, "a", want)
		err := f.Do(t.Context(), use)
		if errors.Is(err, warehouse.ErrMismatch) != lies || strings.Join(p.asked, ";") != "200000 v;0 " || len(left(t, dir)) > 0 {
			t.Errorf("%v, asked %q, left %q", err, p.asked, left(t, dir))
		}
	}
	p := &place{data: data, version: "v"}
	f, use, _ := p.fetch(t.TempDir(), "a", text(10))
	if err := f.Do(t.Context(), use); !errors.Is(err, warehouse.ErrMismatch) || len(p.asked) != 1 {
		t.Errorf("a lie: %v, asked %q", err, p.asked)
	}
}

// TestFetchTogether: of several at once, one fetches, and one that has not begun can be
// cancelled.
func TestFetchTogether(t *testing.T) {
	p, dir := &place{data: text(1 << 20), version: "v"}, t.TempDir()
	var have atomic.Bool
	var wg sync.WaitGroup
	inside, goOn := make(chan struct{}), make(chan struct{})
	for range 8 {
		wg.Go(func() {
			f, use, _ := p.fetch(dir, "a", p.data)
			f.Have = func(string) bool { return have.Load() }
			err := f.Do(t.Context(), func(in *Incoming) error {
				close(inside)
				<-goOn
				defer have.Store(true)
				return use(in)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f, use, _ := p.fetch(dir, "a", p.data)
	if err := f.Do(ctx, use); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while it waited: %v", err)
	}
	close(goOn)
	wg.Wait()
	if len(p.asked) != 1 || len(left(t, dir)) > 0 {
		t.Errorf("asked %q, left %q", p.asked, left(t, dir))
	}
}

// TestFetchNote: who waited is told what the one before left, if that went well, and who
// came later is not.
func TestFetchNote(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{{nil, "well done"}, {warehouse.ErrMismatch, ""}} {
		p, dir := &place{data: text(1 << 20)}, t.TempDir()
		f, use, _ := p.fetch(dir, "a", nil)
		var waited *os.File
		err := f.Do(t.Context(), func(in *Incoming) (err error) {
			waited, err = os.Open(left(t, dir)[0])
			in.Leave("well done")
			return errors.Join(err, use(in), c.err)
		})
		if !errors.Is(err, c.err) || waited == nil {
			t.Fatal(err)
		}
		defer waited.Close()
		if note := readNote(waited); note != c.want {
			t.Errorf("after %v: left %q", c.err, note)
		}
		f.Have = func(note string) bool {
			if note != "" {
				t.Errorf("who came later is told %q", note)
			}
			return false
		}
		must(t, f.Do(t.Context(), use))
	}
}

// TestFetchTooLarge: neither what is said to be, nor what turns out to be.
func TestFetchTooLarge(t *testing.T) {
	for _, unsized := range []bool{false, true} {
		p, dir := &place{data: text(1 << 20), unsized: unsized}, t.TempDir()
		f, use, _ := p.fetch(dir, "a", p.data)
		f.Max = 1<<20 - 1
		if err := f.Do(t.Context(), use); !errors.Is(err, errTooLarge) || len(left(t, dir)) > 0 {
			t.Errorf("%v, left %q", err, left(t, dir))
		}
	}
}

// TestSweep: what nobody goes on with is removed, whichever way the clock was wrong, and
// not what somebody is writing.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	ages := map[string]time.Duration{"new": time.Hour, "old": 2 * partAge, "future": -2 * partAge, "soon": -time.Hour, "held": 2 * partAge}
	for name, age := range ages {
		path := filepath.Join(dir, partPrefix+name)
		must(t, os.WriteFile(path, []byte("part"), 0o600))
		at := time.Now().Add(-age)
		must(t, os.Chtimes(path, at, at))
	}
	must(t, os.WriteFile(dir+"/else", nil, 0o600))
	must(t, os.Chtimes(dir+"/else", time.Unix(0, 0), time.Unix(0, 0)))
	held, err := os.OpenFile(filepath.Join(dir, partPrefix+"held"), os.O_RDWR, 0)
	must(t, err)
	defer held.Close()
	must(t, lock(t.Context(), held))
	sweep(dir)
	var names []string
	for _, path := range left(t, dir) {
		names = append(names, filepath.Base(path))
	}
	if want := []string{"else", "part-held", "part-new", "part-soon"}; !slices.Equal(names, want) {
		t.Errorf("left %q, want %q", names, want)
	}
}
