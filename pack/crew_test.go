package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// many adds 700 files to b, small and large, in directories it comes back to.
func many(t testing.TB, b *Builder) {
	t.Helper()
	for i := range 700 {
		content := bytes.Repeat([]byte{byte(i)}, i)
		if i%300 == 1 {
			content = bytes.Repeat([]byte{byte(i), 0}, smallFile)
		}
		e := Entry{Path: fmt.Sprintf("d%d/e%d/f%d", i%7, i%3, i), Kind: KindFile, Mode: uint32(0o600 + i%0o200), Size: int64(len(content))}
		must(t, b.Add(&e, bytes.NewReader(content)))
	}
	must(t, b.Add(&Entry{Path: "h", Kind: KindHardlink, Link: "d6/e0/f699"}, nil))
}

// TestBuilderWorkers expects one ware of any number of workers, as it is on disk.
func TestBuilderWorkers(t *testing.T) {
	ctx := context.Background()
	for _, packtype := range []string{Tree, Tar} {
		var first Result
		for _, jobs := range []int{1, 2, 5} {
			l := openLocal(t)
			b, err := NewBuilder(ctx, l, BuildOptions{Options: Options{Packtype: packtype, Jobs: jobs}})
			must(t, err)
			many(t, b)
			rec, err := b.Commit()
			must(t, err)
			must(t, b.Close())
			must(t, Check(ctx, l, rec.ID))
			if after, err := l.Get(rec.ID); err != nil || after.Stamp != rec.Stamp {
				t.Errorf("%d workers: the first check hashed the fileset again, %v", jobs, err)
			}
			got, err := Scan(ctx, l.Fileset(rec), Options{})
			must(t, err)
			if got.Tree != rec.Tree || got.Entries != rec.Entries || got.Bytes != rec.Bytes {
				t.Errorf("%d workers: made %+v, which scans to %+v", jobs, rec, got)
			}
			if got.ID = rec.ID; first == (Result{}) {
				first = got
			} else if got != first {
				t.Errorf("%d workers: got %+v, with fewer %+v", jobs, got, first)
			}
		}
	}
}

// TestBuilderFirstError expects the error of the first entry that is wrong, whoever
// writes it, and nothing left.
func TestBuilderFirstError(t *testing.T) {
	for _, jobs := range []int{1, 5} {
		for _, then := range []string{"../x", "d0/e0/f0", ""} {
			l := openLocal(t)
			b, err := NewBuilder(context.Background(), l, BuildOptions{Options: Options{Jobs: jobs}})
			must(t, err)
			many(t, b)
			wrong := "d0/" + strings.Repeat("n", 256)
			err = b.Add(&Entry{Path: wrong, Kind: KindFile}, nil)
			if err == nil && then != "" {
				err = b.Add(&Entry{Path: then, Kind: KindFile}, nil)
			} else if err == nil {
				_, err = b.Commit()
			}
			var of *EntryError
			if !errors.As(err, &of) || of.Path != wrong || !errors.Is(err, unix.ENAMETOOLONG) {
				t.Errorf("got %v", err)
			}
			must(t, b.Close())
			if left, err := filepath.Glob(l.Dir() + "/stage/*/*"); len(left) > 0 || err != nil {
				t.Errorf("left %v, %v", left, err)
			}
		}
	}
}

func TestBuilderCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	b, err := NewBuilder(ctx, openLocal(t), BuildOptions{})
	must(t, err)
	many(t, b)
	cancel()
	if err := b.Add(&Entry{Path: "x", Kind: KindFile, Size: 1 << 40}, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := b.Commit(); err == nil {
		t.Error("committed")
	}
	must(t, b.Close())
}

// zeros reads as zeros and counts them.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestBuilderRatio expects an end to an archive that is almost nothing but holes, and
// holes in the file of one that may be.
func TestBuilderRatio(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		ratio, size int64
		ok          bool
	}{{0, RatioFloor, true}, {0, RatioFloor + 1, false}, {1 << 40, RatioFloor + 1, true}, {-1, RatioFloor + 1, true}} {
		l := openLocal(t)
		b, err := NewBuilder(ctx, l, BuildOptions{MaxRatio: c.ratio, Packed: func() int64 { return 1000 }})
		must(t, err)
		err = b.Add(&Entry{Path: "z", Kind: KindFile, Mode: 0o644, Size: c.size}, io.Reader(zeros{}))
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), `"z"`) {
			t.Errorf("ratio %d, size %d: %v", c.ratio, c.size, err)
		}
		if c.ok {
			rec, err := b.Commit()
			must(t, err)
			var st unix.Stat_t
			must(t, unix.Stat(l.Fileset(rec)+"/z", &st))
			if st.Size != c.size || st.Blocks > 1<<11 {
				t.Errorf("the file has %d bytes and %d blocks", st.Size, st.Blocks)
			}
		}
		must(t, b.Close())
	}
}
