package s3

import (
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"testing"

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

// BenchmarkToolchain moves a whole ware into and out of a bucket, and what curl does.
func BenchmarkToolchain(b *testing.B) {
	alone(b)
	var o *Bucket
	warehousetest.BenchToolchain(b, func() warehouse.Store {
		o = open(b, s3test.Start(b).URL(""), known())
		return packed.New(o)
	}, func(id warehouse.WareID) string {
		return fmt.Sprintf("curl -sf -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --aws-sigv4 aws:amz:%s:s3 --user %s:%s '%s'",
			s3test.Region, s3test.AccessKey, s3test.SecretKey, o.place.at(s3test.Region, o.key(id.String()), nil))
	})
}
