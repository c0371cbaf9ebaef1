package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
)

// WriteDockerArchive writes the image as docker load reads it: a tar archive which is
// an OCI layout, with the manifest.json that older Docker needs. name is what
// the image is called there, NAME:TAG, or "".
func (img *Image) WriteDockerArchive(ctx context.Context, w io.Writer, name string) error {
	if err := img.writeDockerArchive(ctx, w, name); err != nil {
		return fmt.Errorf("write docker archive: %w", err)
	}
	return nil
}

func (img *Image) writeDockerArchive(ctx context.Context, w io.Writer, name string) error {
	tw := archive.NewTarWriter(w)
	add := func(name string, size int64, r io.Reader) error {
		e := pack.Entry{Path: name, Kind: pack.KindFile, Mode: 0o644, Sec: created.Unix(), Size: size}
		return tw.Add(&e, &cancelReader{ctx, r})
	}
	for _, d := range img.blobs() {
		r, err := img.open(d.Digest)
		if err != nil {
			return err
		}
		err = add(blobPath(d.Digest), d.Size, r)
		r.Close()
		if err != nil {
			return err
		}
	}
	files, err := img.archiveFiles(name)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := add(f.name, int64(len(f.data)), bytes.NewReader(f.data)); err != nil {
			return err
		}
	}
	return tw.Close()
}

type smallFile struct {
	name string
	data []byte
}

// archiveFiles are what says what the blobs are.
func (img *Image) archiveFiles(name string) ([]smallFile, error) {
	tag := ""
	listed := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{Config: blobPath(img.manifest.Config.Digest), RepoTags: []string{}}
	if name != "" {
		listed.RepoTags = []string{name}
		tag = name
	}
	for _, d := range img.manifest.Layers {
		listed.Layers = append(listed.Layers, blobPath(d.Digest))
	}
	manifest, err := json.Marshal([]any{listed})
	if err != nil {
		return nil, err
	}
	index, err := img.addTo(nil, tag)
	if err != nil {
		return nil, err
	}
	head, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	return []smallFile{{v1.ImageIndexFile, index}, {"manifest.json", manifest}, {v1.ImageLayoutFile, head}}, err
}

func blobPath(d digest.Digest) string { return path.Join("blobs", d.Algorithm().String(), d.Encoded()) }
