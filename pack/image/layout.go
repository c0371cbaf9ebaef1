package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/newfile"
)

// WriteLayout adds the image to the OCI image layout in dir, which is made if it is
// missing or empty. The tag, if there is one, then names this image and no other of the
// layout. The index is replaced last: until then the layout is what it was, and
// blobs that it does not name yet do no harm. Kilns that write to one layout wait
// for each other.
func (img *Image) WriteLayout(ctx context.Context, dir, tag string) error {
	if err := img.writeLayout(ctx, dir, tag); err != nil {
		return fmt.Errorf("write OCI layout %s: %w", dir, err)
	}
	return nil
}

func (img *Image) writeLayout(ctx context.Context, dir, tag string) error {
	if err := CheckLayout(dir); err != nil {
		return err
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return img.addToLayout(ctx, dir, tag)
	}
	aside, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".kiln-export-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside)
	umask := unix.Umask(0)
	unix.Umask(umask)
	if err := os.Chmod(aside, 0o777&^os.FileMode(umask)); err != nil {
		return err
	}
	if err := img.addToLayout(ctx, aside, tag); err != nil {
		return err
	}
	if err := os.Rename(aside, dir); err != nil {
		return img.addToLayout(ctx, dir, tag) // somebody else was faster
	}
	return nil
}

func (img *Image) addToLayout(ctx context.Context, dir, tag string) error {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	for _, d := range img.blobs() {
		if err := img.writeBlob(ctx, dir, d); err != nil {
			return err
		}
	}
	head, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err == nil {
		err = writeFile(filepath.Join(dir, v1.ImageLayoutFile), head)
	}
	if err != nil {
		return err
	}
	path := filepath.Join(dir, v1.ImageIndexFile)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	index, err := img.addTo(old, tag)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return writeFile(path, index)
}

// CheckLayout reports whether an image can be added to dir: it is missing, empty, or an
// OCI image layout.
func CheckLayout(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, v1.ImageLayoutFile))
	if errors.Is(err, fs.ErrNotExist) {
		// What a killed kiln has begun is blobs alone.
		if len(entries) == 1 && entries[0].Name() == "blobs" {
			return nil
		}
		return errors.New("the directory is neither empty nor an OCI layout")
	}
	var head v1.ImageLayout
	if err == nil {
		err = json.Unmarshal(data, &head)
	}
	if err == nil && !strings.HasPrefix(head.Version, "1.") {
		err = fmt.Errorf("it is an OCI layout of version %q, and kiln knows %s", head.Version, v1.ImageLayoutVersion)
	}
	return err
}

func (img *Image) writeBlob(ctx context.Context, dir string, d v1.Descriptor) error {
	path := filepath.Join(dir, "blobs", d.Digest.Algorithm().String(), d.Digest.Encoded())
	if sum, err := fileDigest(path); err == nil && sum == d.Digest {
		return nil
	}
	return newfile.Write(path, true, func(w io.Writer) error { return img.copyBlob(ctx, w, d) })
}

func (img *Image) copyBlob(ctx context.Context, w io.Writer, d v1.Descriptor) error {
	r, err := img.open(d.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, &cancelReader{ctx, r})
	return err
}

type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func fileDigest(path string) (digest.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest.Canonical.FromReader(f)
}

// addTo adds the image to an index, keeping whatever else is in it.
func (img *Image) addTo(old []byte, tag string) ([]byte, error) {
	index := map[string]json.RawMessage{}
	var manifests []json.RawMessage
	if len(old) > 0 {
		if err := json.Unmarshal(old, &index); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(index["manifests"], &manifests); err != nil && index["manifests"] != nil {
			return nil, fmt.Errorf("manifests: %w", err)
		}
	} else {
		head, err := json.Marshal(struct {
			specs.Versioned
			MediaType string `json:"mediaType"`
		}{specs.Versioned{SchemaVersion: 2}, v1.MediaTypeImageIndex})
		if err == nil {
			err = json.Unmarshal(head, &index)
		}
		if err != nil {
			return nil, err
		}
	}
	d := img.descriptor()
	if tag != "" {
		d.Annotations = map[string]string{v1.AnnotationRefName: tag}
	}
	var kept []json.RawMessage
	for _, raw := range manifests {
		var m v1.Descriptor
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, fmt.Errorf("manifests: %w", err)
		}
		name := m.Annotations[v1.AnnotationRefName]
		if tag != "" && name == tag || name == "" && m.Digest == d.Digest {
			continue
		}
		kept = append(kept, raw)
	}
	added, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	if index["manifests"], err = json.Marshal(append(kept, added)); err != nil {
		return nil, err
	}
	return json.Marshal(index)
}

func writeFile(path string, data []byte) error {
	if there, err := os.ReadFile(path); err == nil && string(there) == string(data) {
		return nil
	}
	return newfile.Write(path, true, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// lockDir waits until no other process has dir locked, and locks it.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock: %w", err)
	}
	return func() { f.Close() }, nil
}
