package s3

import (
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/s3/s3test"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// BenchmarkObject moves 270 MB of noise, as kiln does and as curl does.
func BenchmarkObject(b *testing.B) {
	alone(b)
	s := s3test.Start(b)
	o := open(b, s.URL(""), known())
	const size = 270 << 20
	path := filepath.Join(b.TempDir(), "noise")
	if err := os.WriteFile(path, random(size), 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	at := o.place.at(s3test.Region, o.key(ware), nil).String()
	curl := func(args ...string) error {
		return osexec.Command("curl", append(args, "-sf", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "--aws-sigv4", "aws:amz:"+s3test.Region+":s3", "--user", s3test.AccessKey+":"+s3test.SecretKey, at)...).Run()
	}
	for _, c := range []struct {
		name string
		f    func() error
	}{
		{"put/kiln", func() error { return o.Put(b.Context(), ware, f, size) }},
		{"put/curl", func() error { return curl("-T", path) }},
		{"get/kiln", func() error {
			obj, err := o.Open(b.Context(), ware, 0, "")
			if err != nil {
				return err
			}
			defer obj.Close()
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, obj, make([]byte, 256<<10))
			return err
		}},
		{"get/curl", func() error { return curl("-o", "/dev/null") }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				if err := c.f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkToolchain moves a whole ware, the Go toolchain that runs this, into and out of
// a bucket; beside it, what the same archive takes by other tools.
func BenchmarkToolchain(b *testing.B) {
	alone(b)
	s := s3test.Start(b)
	o := open(b, s.URL(""), known())
	store, l := packed.New(o), warehousetest.OpenLocal(b)
	rec, err := pack.Ingest(b.Context(), l, goroot(b), pack.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("put/kiln", func(b *testing.B) {
		b.SetBytes(rec.Bytes)
		for b.Loop() {
			warehousetest.Put(b, store, l, rec)
			b.StopTimer()
			if err := os.Remove(filepath.Join(s.Dir, "data", s3test.Bucket, packed.Path(rec.ID.String()))); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	warehousetest.Put(b, store, l, rec)
	b.Run("get/kiln", func(b *testing.B) {
		b.SetBytes(rec.Bytes)
		for b.Loop() {
			b.StopTimer()
			into := warehousetest.OpenLocal(b)
			b.StartTimer()
			if _, err := store.Get(b.Context(), rec.ID, into, warehouse.Transfer{CacheDir: b.TempDir()}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get/curl", func(b *testing.B) {
		at := o.place.at(s3test.Region, o.key(rec.ID.String()), nil).String()
		b.SetBytes(rec.Bytes)
		for b.Loop() {
			b.StopTimer()
			cmd := osexec.Command("sh", "-c", `curl -sf -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" --aws-sigv4 "$1" --user "$2" "$3" | zstd -dc | tar x -C "$4"`, "sh",
				"aws:amz:"+s3test.Region+":s3", s3test.AccessKey+":"+s3test.SecretKey, at, b.TempDir())
			b.StartTimer()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
}

// goroot is where the Go toolchain lies that runs this.
func goroot(b *testing.B) string {
	out, err := osexec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
