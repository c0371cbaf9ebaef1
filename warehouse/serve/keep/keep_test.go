package keep

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, dir string, max int64) *Store {
	t.Helper()
	s, err := Open(dir, max)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(s *Store, data []byte) (Sum, error) {
	w, err := s.Create(int64(len(data)))
	if err != nil {
		return Sum{}, err
	}
	if _, err := w.Write(data); err != nil {
		w.Abort()
		return Sum{}, err
	}
	sum := Sum(sha256.Sum256(data))
	return sum, w.Commit(sum, int64(len(data)))
}

func mustPut(t *testing.T, s *Store, data []byte) Sum {
	t.Helper()
	sum, err := put(s, data)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func content(t *testing.T, s *Store, sum Sum) []byte {
	t.Helper()
	o, err := s.Open(sum)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	data, err := io.ReadAll(o)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// onDisk is the room that all files below dir take, but for the lock.
func onDisk(t *testing.T, dir string) int64 {
	t.Helper()
	var n int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && d.Type().IsRegular() && d.Name() != "lock" {
			if info, err := d.Info(); err == nil {
				n += room(info.Size())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	for _, data := range []string{"", "a", "hello"} {
		sum := mustPut(t, s, []byte(data))
		if n, ok := s.Has(sum); !ok || n != int64(len(data)) {
			t.Errorf("%q: there %v, %d bytes", data, ok, n)
		}
		if got := content(t, s, sum); string(got) != data {
			t.Errorf("got %q, want %q", got, data)
		}
	}
	if _, err := s.Open(Sum{1}); !errors.Is(err, ErrMissing) {
		t.Errorf("open what is not there: %v", err)
	}
	if got, want := s.Stats().Bytes, onDisk(t, dir); got != want {
		t.Errorf("counts %d bytes, on disk are %d", got, want)
	}
}

func TestMismatch(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	for _, lie := range []struct {
		sum  Sum
		size int64
	}{{Sum{1}, 5}, {Sum(sha256.Sum256([]byte("hello"))), 4}, {Sum(sha256.Sum256([]byte("hello"))), 1 << 40}} {
		w, err := s.Create(5)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "hello")
		if err := w.Commit(lie.sum, lie.size); !errors.Is(err, ErrMismatch) {
			t.Errorf("%v: %v", lie, err)
		}
	}
	if n := onDisk(t, dir); n != 0 || s.pledged != 0 {
		t.Errorf("%d bytes left on disk, %d pledged", n, s.pledged)
	}
}

func TestEvictsWhatWasUsedLongestAgo(t *testing.T) {
	s := open(t, t.TempDir(), 10*block)
	var sums []Sum
	for i := range 10 {
		sums = append(sums, mustPut(t, s, fmt.Appendf(nil, "%d", i)))
	}
	s.Has(sums[0]) // used last now
	mustPut(t, s, []byte("one more"))
	if _, ok := s.Has(sums[0]); !ok {
		t.Error("what was just used had to go")
	}
	if _, ok := s.Has(sums[1]); ok {
		t.Error("what was used longest ago is still there")
	}
	if _, err := s.Create(11 * block); !errors.Is(err, ErrFull) {
		t.Errorf("more than the limit: %v", err)
	}
	if _, ok := s.Has(sums[9]); !ok {
		t.Error("something had to go for what can never fit")
	}
}

// TestUseSurvivesRestart: the order is kept, and a smaller limit holds at once.
func TestUseSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 10*block)
	var sums []Sum
	for i := range 10 {
		sums = append(sums, mustPut(t, s, fmt.Appendf(nil, "%d", i)))
		at := time.Now().Add(time.Duration(i-20) * time.Hour)
		if err := os.Chtimes(s.path(key{objects, sums[i]}), at, at); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = open(t, dir, 10*block)
	s.Has(sums[0])
	s.Close()
	s = open(t, dir, 5*block)
	for i, want := range []bool{true, false, false, false, false, false, false, true, true, true} {
		if _, ok := s.there[key{objects, sums[i]}]; ok != want {
			t.Errorf("object %d: there %v, want %v", i, ok, want)
		}
	}
	if n := onDisk(t, dir); n > 5*block {
		t.Errorf("%d bytes on disk, the limit is %d", n, 5*block)
	}
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, 1<<20)
	if _, err := Open(dir, 1<<20); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}

// TestSweep: what a killed process was writing goes, what is not the store's stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	w, err := s.Create(100)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "half")
	s.Close()
	note := filepath.Join(dir, "cas", "README")
	if err := os.MkdirAll(filepath.Dir(note), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 1<<20)
	if n := onDisk(t, dir); n != 0 || s.Stats().Entries != 0 {
		t.Errorf("left: %d bytes, %+v", n, s.Stats())
	}
	if _, err := os.Stat(note); err != nil {
		t.Error(err)
	}
}

func TestValues(t *testing.T) {
	s := open(t, t.TempDir(), 1<<20)
	name := Sum{1}
	for _, value := range []string{"first", "", "second"} {
		if err := s.SetValue(Actions, name, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Value(Actions, name); err != nil || string(got) != value {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if _, err := s.Value(Memos, name); !errors.Is(err, ErrMissing) {
		t.Errorf("of another space: %v", err)
	}
	path := s.path(key{Actions, name})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, torn := range [][]byte{nil, data[:len(data)-1], bytes.Repeat([]byte{0}, len(data))} {
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Value(Actions, name); !errors.Is(err, ErrMissing) {
			t.Errorf("torn to %d bytes: %q, %v", len(torn), got, err)
		}
		if err := s.SetValue(Actions, name, []byte("second")); err != nil {
			t.Fatal(err)
		}
	}
	s.DropValue(Actions, name)
	if _, err := s.Value(Actions, name); !errors.Is(err, ErrMissing) {
		t.Errorf("dropped: %v", err)
	}
}

// TestLimitHolds: whatever is written at once, and read meanwhile, what lies on disk
// never exceeds the limit, going by what is counted, and what is read is right.
func TestLimitHolds(t *testing.T) {
	dir := t.TempDir()
	const limit = 64 * block
	s := open(t, dir, limit)
	done := make(chan struct{})
	var wg, watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				s.mu.Lock()
				used, pledged := s.used, s.pledged
				s.mu.Unlock()
				if used+pledged > limit || used < 0 || pledged < 0 {
					t.Errorf("%d bytes used, %d pledged, the limit is %d", used, pledged, limit)
				}
			}
		}
	})
	for seed := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewSource(int64(seed)))
			for range 100 {
				data := make([]byte, r.Intn(6*block))
				r.Read(data)
				sum, err := put(s, data)
				if err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				o, err := s.Open(sum)
				if errors.Is(err, ErrMissing) {
					continue // evicted already
				}
				if err != nil {
					t.Error(err)
					continue
				}
				got, err := io.ReadAll(o)
				o.Close()
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("read %d bytes of %d, %v", len(got), len(data), err)
				}
				if err := s.SetValue(Names, Sum{byte(r.Intn(20))}, data[:min(len(data), 100)]); err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(done)
	watch.Wait()
	if got, want := s.Stats().Bytes, onDisk(t, dir); got != want || s.pledged != 0 || s.going != 0 {
		t.Errorf("counts %d bytes (%d pledged, %d going), on disk are %d", got, s.pledged, s.going, want)
	}
	s.Close()
	if got := open(t, dir, limit).Stats().Bytes; got != s.used {
		t.Errorf("after a restart %d bytes, before %d", got, s.used)
	}
}

// TestLimitOnDisk: a file system as large as the limit is never full.
func TestLimitOnDisk(t *testing.T) {
	dir := t.TempDir()
	const limit = 64 * block
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", limit)); err != nil {
		t.Skipf("mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var wg sync.WaitGroup
	for seed := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewSource(int64(seed)))
			for range 200 {
				data := make([]byte, r.Intn(6*block))
				r.Read(data)
				if _, err := put(s, data); errors.Is(err, unix.ENOSPC) || err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
