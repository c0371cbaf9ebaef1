package reapi_test

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
	"github.com/kilnbuild/kiln/warehouse/reapi"
	"github.com/kilnbuild/kiln/warehouse/serve"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// toolchain makes a ware as a C toolchain is one: some 270 MB in 4,000 files, of which
// six have half of the bytes. Of every twenty files one is of this version.
func toolchain(t testing.TB, l *warehouse.Local, version uint64) warehouse.Record {
	t.Helper()
	dir := t.TempDir()
	for i := range 4000 {
		seed := uint64(i)
		if i%20 == 7 {
			seed += version << 32
		}
		r := rand.New(rand.NewPCG(seed, 1))
		size := 1<<10 + int(r.ExpFloat64()*33_000)
		if i%666 == 0 {
			size = 20 << 20
		}
		path := fmt.Sprintf("%s/lib%d/dir%d/file%d", dir, i%7, i%160, i)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, halfNoise(r, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rec, err := pack.Ingest(t.Context(), l, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// halfNoise compresses to about a third, as programs do.
func halfNoise(r *rand.Rand, size int) []byte {
	b := make([]byte, 0, size+64)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
		b = append(b, bytes.Repeat([]byte{byte(r.Uint32())}, 8+r.IntN(16))...)
	}
	return b[:size]
}

// eachServer runs a benchmark against kiln's own server and, where KILN_TEST_REAPI
// names one, another.
func eachServer(b *testing.B, f func(b *testing.B, url string)) {
	b.Run("kiln", func(b *testing.B) { f(b, kilnServer(b, serve.Options{})) })
	if url := os.Getenv("KILN_TEST_REAPI"); url != "" {
		b.Run("other", func(b *testing.B) { f(b, url+"/"+strings.ReplaceAll(b.Name(), "/", "-")) })
	}
}

func BenchmarkPut(b *testing.B) {
	l := warehousetest.OpenLocal(b)
	rec := toolchain(b, l, 1)
	b.Run("kiln", func(b *testing.B) {
		b.SetBytes(rec.Bytes)
		for b.Loop() {
			b.StopTimer()
			s := open(b, kilnServer(b, serve.Options{}), reapi.Options{})
			b.StartTimer()
			if err := s.Put(b.Context(), rec, l, warehouse.Transfer{}); err != nil {
				b.Fatal(err)
			}
			s.Close()
		}
	})
}

func BenchmarkGet(b *testing.B) {
	l := warehousetest.OpenLocal(b)
	rec := toolchain(b, l, 1)
	eachServer(b, func(b *testing.B, url string) {
		put(b, url, rec, l)
		b.SetBytes(rec.Bytes)
		for b.Loop() {
			b.StopTimer()
			s, into := open(b, url, reapi.Options{}), warehousetest.OpenLocal(b)
			b.StartTimer()
			if _, err := s.Get(b.Context(), rec.ID, into, warehouse.Transfer{CacheDir: b.TempDir()}); err != nil {
				b.Fatal(err)
			}
			s.Close()
		}
	})
}

func put(t testing.TB, url string, rec warehouse.Record, l *warehouse.Local) {
	t.Helper()
	s := open(t, url, reapi.Options{})
	defer s.Close()
	if err := s.Put(t.Context(), rec, l, warehouse.Transfer{}); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkMemos looks up fifty memos one after the other, with a new connection.
func BenchmarkMemos(b *testing.B) {
	eachServer(b, func(b *testing.B, url string) {
		s := open(b, url, reapi.Options{})
		for i := range 50 {
			if err := s.PutMemo(b.Context(), warehouse.StepKey(fmt.Sprintf("%064x", i)), bytes.Repeat([]byte("memo"), 300)); err != nil {
				b.Fatal(err)
			}
		}
		s.Close()
		for b.Loop() {
			s := open(b, url, reapi.Options{})
			for i := range 50 {
				if _, err := s.Memo(b.Context(), warehouse.StepKey(fmt.Sprintf("%064x", i))); err != nil {
					b.Fatal(err)
				}
			}
			s.Close()
		}
	})
}
