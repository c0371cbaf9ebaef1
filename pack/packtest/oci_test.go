package packtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/oci"
	"github.com/kilnbuild/kiln/warehouse"
)

func TestOCI(t *testing.T) { Run(t, image()) }

// image is a packtype whose packed form is an OCI layout that umoci made, with one
// image of one layer.
func image() Packtype {
	return Packtype{
		Pack: func(t testing.TB, dir, dst string) {
			run(t, "umoci", "init", "--layout", dst)
			run(t, "umoci", "new", "--image", dst+":t")
			run(t, "umoci", "insert", "--rootless", "--image", dst+":t", dir, "/")
		},
		Encode: encodeOCI,
		Tool: func(src, dst string) error {
			if err := tool(dst, "umoci", "unpack", "--rootless", "--image", src+":t", dst+".bundle"); err != nil {
				return err
			}
			return errors.Join(os.Remove(dst), os.Rename(dst+".bundle/rootfs", dst))
		},
		Unpack:  unpackOCI,
		Checked: true,
		Loses:   LosesNanoseconds | LosesOwners | LosesLongPaths,
		Takes:   inLayers,
	}
}

// inLayers are names of hostile filesets that an image may have, since a layer goes
// over those below it, and over itself, and names are looked up inside the image.
var inLayers = map[string]bool{
	"absolute file": true, "absolute directory": true, "two slashes": true, "file through symlink": true, "dir through symlink": true,
	"through two symlinks": true, "over symlink": true, "directory for symlink": true, "symlink for directory": true,
	"hard link to symlink": true, "file twice": true, "directory twice": true, "file for directory": true,
	"directory for file": true, "character device": true, "block device": true, "setuid": true, "setgid": true, "setgid directory": true,
	"through its parent": true,
}

func unpackOCI(ctx context.Context, l *warehouse.Local, src string, o pack.BuildOptions) (warehouse.Record, error) {
	fail := func(err error) (warehouse.Record, error) {
		return warehouse.Record{}, fmt.Errorf("image %s: %w", o.Name, err)
	}
	layout, err := oci.OpenLayout(src)
	if err != nil {
		return fail(err)
	}
	root, err := layout.Resolve("", oci.HostPlatform())
	if err != nil {
		return fail(err)
	}
	img, err := oci.Load(ctx, layout, root, oci.HostPlatform())
	if err != nil {
		return fail(err)
	}
	return img.Unpack(ctx, l, o)
}

func encodeOCI(t testing.TB, dst string, entries ...Entry) {
	encodeTar(t, dst+".layer", entries...)
	layer, err := os.ReadFile(dst + ".layer")
	if err != nil {
		t.Fatal(err)
	}
	layout(t, dst, layer)
}

// layout makes an OCI layout of an image that has these layers.
func layout(t testing.TB, dst string, layers ...[]byte) {
	blob := func(mediaType string, data []byte) string {
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		put(t, dst+"/blobs/sha256/"+sum, data)
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%d}`, mediaType, sum, len(data))
	}
	descs, diffs := "", ""
	for i, data := range layers {
		if i > 0 {
			descs, diffs = descs+",", diffs+","
		}
		descs += blob("layer.v1.tar", data)
		diffs += fmt.Sprintf(`"sha256:%x"`, sha256.Sum256(data))
	}
	config := blob("config.v1+json", []byte(`{"architecture":"`+runtime.GOARCH+`","os":"linux","rootfs":{"type":"layers","diff_ids":[`+diffs+`]}}`))
	manifest := blob("manifest.v1+json", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":`+config+`,"layers":[`+descs+`]}`))
	named := strings.TrimSuffix(manifest, "}") + `,"annotations":{"org.opencontainers.image.ref.name":"t"}}`
	put(t, dst+"/index.json", []byte(`{"schemaVersion":2,"manifests":[`+named+`]}`))
	put(t, dst+"/oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
}
