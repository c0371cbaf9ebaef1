package warehouse

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func memo(i int) Memo {
	return Memo{
		Key: StepKey(fmt.Sprintf("%064x", i)), Step: fmt.Sprintf("step.test[%q]", fmt.Sprint(i)),
		Outputs:  map[string]WareID{"out": id(fmt.Sprintf("%064x-123", i)), "log": {"tar", "6ZQwr3JLPNsL"}},
		Started:  time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Duration: 12 * time.Millisecond, Isolation: "container", Kiln: "0.1",
	}
}

func TestMemos(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "memo")
	m, err := OpenMemos(dir)
	must(t, err)
	want := memo(1)
	if _, err := m.Get(want.Key); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), string(want.Key)) {
		t.Errorf("before: %v", err)
	}
	must(t, m.Put(want))
	want.Duration++
	must(t, m.Put(want))
	got, err := m.Get(want.Key)
	must(t, err)
	if !maps.Equal(got.Outputs, want.Outputs) || got.Duration != want.Duration || !got.Started.Equal(want.Started) || got.Step != want.Step {
		t.Errorf("got %+v, want %+v", got, want)
	}
	path, err := m.path(want.Key)
	must(t, err)
	whole, err := os.ReadFile(path)
	must(t, err)
	for _, damaged := range []string{"", "{", string(whole[:len(whole)/2]), "null", "[]",
		strings.Replace(string(whole), string(want.Key), string(memo(2).Key), 1)} {
		must(t, os.WriteFile(path, []byte(damaged), 0o644))
		_, err := m.Get(want.Key)
		var missing *MissingError
		if !errors.As(err, &missing) || missing.Reason == nil || !errors.Is(err, ErrMissing) {
			t.Errorf("%q: %v", damaged, err)
		}
	}
	for name, damage := range map[string]func(path string) error{
		"directory": func(path string) error { return os.MkdirAll(path+"/x/y", 0o755) },
		"pipe":      func(path string) error { return unix.Mkfifo(path, 0o644) },
		"loop":      func(path string) error { return os.Symlink(path, path) },
	} {
		must(t, os.Remove(path))
		must(t, damage(path))
		var missing *MissingError
		if _, err := m.Get(want.Key); !errors.As(err, &missing) || missing.Reason == nil {
			t.Errorf("%s: %v", name, err)
		}
		must(t, m.Put(want))
		if _, err := m.Get(want.Key); err != nil {
			t.Errorf("%s: put again: %v", name, err)
		}
	}
	for _, bad := range []StepKey{"", "x", StepKey(strings.Repeat("G", 64)), StepKey("../../../" + strings.Repeat("0", 55))} {
		if _, err := m.Get(bad); err == nil || errors.Is(err, ErrMissing) {
			t.Errorf("key %q: %v", bad, err)
		}
		if err := m.Put(Memo{Key: bad}); err == nil {
			t.Errorf("key %q: kept", bad)
		}
	}
}

func TestMemosAtOnce(t *testing.T) {
	m, err := OpenMemos(t.TempDir())
	must(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 50 {
				if err := m.Put(memo(i % 5)); err != nil {
					t.Error(err)
				}
				if _, err := m.Get(memo(i % 5).Key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkMemosGet(b *testing.B) {
	m, err := OpenMemos(b.TempDir())
	must(b, err)
	const n = 10_000
	for i := range n {
		must(b, m.Put(memo(i)))
	}
	keys := make([]StepKey, n)
	for i := range keys {
		keys[i] = memo(i).Key
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		_, err := m.Get(keys[i%n])
		must(b, err)
		i++
	}
}

func BenchmarkLocalGet(b *testing.B) {
	l := openLocal(b)
	must(b, l.Commit(stage(b, l), Record{ID: id("abcd"), Tree: id("abcd"), Stamp: strings.Repeat("0", 64), Dirs: make([]byte, 200)}))
	b.ReportAllocs()
	for b.Loop() {
		_, err := l.Get(id("abcd"))
		must(b, err)
	}
}
