package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/internal/newfile"
	"github.com/kilnbuild/kiln/pack/archive"
)

// layerVersion is raised when the same ware would become other bytes, so that nobody
// gets an old layer out of the cache: by a change to layer.write, or a compressor's
// new version (archive's TestWriteVectors tells).
const layerVersion = "1"

// A blob is a compressed layer in the cache.
type blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	DiffID digest.Digest `json:"diff_id"` // of the tar in it
	path   string
}

// key names the layer in the cache: it is made of all that its bytes depend on.
func (la *layer) key() string {
	parts := append([]string{"kiln layer " + layerVersion, la.contents.Record.Tree.String(), la.Path}, la.parents...)
	if la.Root {
		parts = append(parts, "", "0:0")
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// blob returns the layer compressed, from the cache or made now.
func (la *layer) blob(cacheDir string) (*blob, error) {
	base := filepath.Join(cacheDir, la.key())
	if b, err := readCached(base); err == nil {
		return b, nil
	}
	if err := os.MkdirAll(cacheDir, 0o700); err != nil {
		return nil, err
	}
	b, err := la.make(base)
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return b, nil
}

func readCached(base string) (*blob, error) {
	data, err := os.ReadFile(base + ".json")
	if err != nil {
		return nil, err
	}
	b := &blob{path: base + ".tar.gz"}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, err
	}
	if err := errors.Join(b.Digest.Validate(), b.DiffID.Validate()); err != nil {
		return nil, err
	}
	info, err := os.Stat(b.path)
	if err == nil && info.Size() != b.Size {
		err = errors.New("it has another size")
	}
	return b, err
}

// make writes the layer to the cache, and then what is known of it.
func (la *layer) make(base string) (*blob, error) {
	b := &blob{path: base + ".tar.gz"}
	if err := newfile.Write(b.path, true, func(w io.Writer) error { return la.compress(w, b) }); err != nil {
		return nil, err
	}
	data, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	return b, newfile.Write(base+".json", true, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

func (la *layer) compress(w io.Writer, b *blob) error {
	packed := &hashing{w: w, Digester: digest.Canonical.Digester()}
	z, err := archive.NewCompressor(packed, archive.Gzip)
	if err != nil {
		return err
	}
	plain := &hashing{w: z, Digester: digest.Canonical.Digester()}
	if err := errors.Join(la.write(plain), z.Close()); err != nil {
		return err
	}
	b.Digest, b.Size, b.DiffID = packed.Digest(), packed.n, plain.Digest()
	return nil
}

// A hashing writer hashes and counts what it writes.
type hashing struct {
	digest.Digester
	w io.Writer
	n int64
}

func (h *hashing) Write(p []byte) (int, error) {
	n, err := h.w.Write(p)
	h.Hash().Write(p[:n])
	h.n += int64(n)
	return n, err
}

// open opens the blob; reading it ends with io.EOF only if it is what its digest says.
func (b *blob) open() (io.ReadCloser, error) {
	f, err := os.Open(b.path)
	if err != nil {
		return nil, err
	}
	return &checkedFile{f, b, digest.Canonical.Digester()}, nil
}

type checkedFile struct {
	*os.File
	blob *blob
	sum  digest.Digester
}

func (c *checkedFile) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	c.sum.Hash().Write(p[:n])
	if err == io.EOF && c.sum.Digest() != c.blob.Digest {
		err = errors.New("the layer cache is damaged there: it was removed, try again")
		err = errors.Join(fmt.Errorf("read %s: %w", c.Name(), err), os.Remove(strings.TrimSuffix(c.Name(), ".tar.gz")+".json"))
	}
	return n, err
}
