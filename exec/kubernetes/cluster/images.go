package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path"
	"runtime"
	"strings"
	"time"
)

// Images that the node has. One layer makes both: busybox, and a name for each of its tools.
const (
	pause   = "images.test/pause:1"   // holds the namespaces of a pod
	busybox = "images.test/busybox:1" // what tests run
)

// writeImages writes an archive of the images, as docker save does, to file. The busybox
// at shell must be static.
func writeImages(file, shell string) error {
	layer, err := busyboxLayer(shell)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(layer)
	config := func(argv ...string) object {
		return object{
			"architecture": runtime.GOARCH, "os": "linux", "created": epoch,
			"config": object{"Env": []string{"PATH=/bin"}, "Cmd": argv},
			"rootfs": object{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
		}
	}
	files := []any{}
	archive := newArchive()
	for _, image := range []struct {
		name string
		argv []string
	}{{pause, []string{"sleep", "2147483647"}}, {busybox, []string{"sh"}}} {
		name := strings.NewReplacer("/", "-", ":", "-").Replace(image.name) + ".json"
		data, err := json.Marshal(config(image.argv...))
		if err != nil {
			return err
		}
		archive.add(name, 0o644, data)
		files = append(files, object{"Config": name, "RepoTags": []string{image.name}, "Layers": []string{"layer.tar"}})
	}
	manifest, err := json.Marshal(files)
	if err != nil {
		return err
	}
	archive.add("layer.tar", 0o644, layer)
	archive.add("manifest.json", 0o644, manifest)
	data, err := archive.close()
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

func busyboxLayer(shell string) ([]byte, error) {
	data, err := os.ReadFile(shell)
	if err != nil {
		return nil, err
	}
	names, err := output(shell, "--list")
	if err != nil {
		return nil, err
	}
	layer := newArchive()
	layer.add("bin/", 0o755, nil)
	layer.add("bin/busybox", 0o755, data)
	for name := range strings.FieldsSeq(string(names)) {
		if name != "busybox" {
			layer.link("bin/"+name, "busybox")
		}
	}
	layer.add("etc/", 0o755, nil)
	layer.add("etc/passwd", 0o644, []byte("root:x:0:0:root:/:/bin/sh\n"))
	layer.add("tmp/", 0o1777, nil)
	return layer.close()
}

var epoch = time.Unix(0, 0).UTC()

// An archive is a tar archive that keeps its first error for the end.
type archive struct {
	buf bytes.Buffer
	tar *tar.Writer
	err error
}

func newArchive() *archive {
	a := &archive{}
	a.tar = tar.NewWriter(&a.buf)
	return a
}

func (a *archive) add(name string, mode int64, data []byte) {
	h := &tar.Header{Name: name, Mode: mode, Size: int64(len(data)), ModTime: epoch, Typeflag: tar.TypeReg}
	if strings.HasSuffix(name, "/") {
		h.Typeflag = tar.TypeDir
	}
	a.entry(h, data)
}

func (a *archive) link(name, target string) {
	a.entry(&tar.Header{Name: path.Clean(name), Linkname: target, Mode: 0o777, ModTime: epoch, Typeflag: tar.TypeSymlink}, nil)
}

func (a *archive) entry(h *tar.Header, data []byte) {
	if a.err == nil {
		a.err = a.tar.WriteHeader(h)
	}
	if a.err == nil {
		_, a.err = a.tar.Write(data)
	}
}

func (a *archive) close() ([]byte, error) {
	if a.err == nil {
		a.err = a.tar.Close()
	}
	return a.buf.Bytes(), a.err
}
