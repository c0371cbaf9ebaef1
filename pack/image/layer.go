package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/warehouse"
)

// A layer is a Layer with what it needs of the world around it.
type layer struct {
	Layer
	contents *pack.Contents
	// parents are the directories above Path that no lower layer has, relative to
	// the root, the highest first.
	parents []string
}

func openLayers(ctx context.Context, l *warehouse.Local, specs []Layer) ([]*layer, error) {
	if len(specs) == 0 {
		return nil, errors.New("it has no layers")
	}
	var layers []*layer
	for _, spec := range specs {
		c, err := pack.OpenContents(ctx, l, spec.Ware)
		if err != nil {
			return nil, err
		}
		if c.Record.File && spec.Path == "/" {
			return nil, fmt.Errorf("layer of %s: the ware is one file, and needs a path in the image", spec.Ware)
		}
		la := &layer{Layer: spec, contents: c}
		if la.parents, err = missing(layers, la); err != nil {
			return nil, fmt.Errorf("layer of %s at %s: %w", spec.Ware, spec.Path, err)
		}
		layers = append(layers, la)
	}
	return layers, nil
}

// missing returns the directories above la's path that none of the lower layers has. A
// symlink there is an error: each layer is unpacked by itself, and so would hide it.
func missing(lower []*layer, la *layer) ([]string, error) {
	if la.Path == "/" {
		return nil, nil
	}
	var out []string
	names := strings.Split(strings.TrimPrefix(la.Path, "/"), "/")
	if !la.contents.Record.File {
		names = append(names, "") // a directory hides a symlink at its own path too
	}
	for i := 1; i < len(names); i++ {
		dir := strings.Join(names[:i], "/")
		e, at, err := lookup(lower, dir)
		switch {
		case err != nil:
			return nil, err
		case at == nil || e.Kind != pack.KindDir && e.Kind != pack.KindSymlink:
			if "/"+dir != la.Path {
				out = append(out, dir)
			}
		case e.Kind == pack.KindSymlink:
			return nil, fmt.Errorf("/%s is a symlink to %q in the layer of %s, which a directory of this layer would hide: use the path that it leads to", dir, e.Link, at.Ware)
		}
	}
	return out, nil
}

// lookup finds what is at dir, relative to the root, when layers are put on each
// other, and which layer it is from: nil if there is nothing.
func lookup(layers []*layer, dir string) (pack.Entry, *layer, error) {
	for i := len(layers) - 1; i >= 0; i-- {
		la := layers[i]
		if at := strings.TrimPrefix(la.Path, "/"); at != "" {
			if strings.HasPrefix(at, dir+"/") {
				return pack.Entry{Path: dir, Kind: pack.KindDir}, la, nil
			}
			if dir == at {
				e, err := la.top()
				return e, la, err
			}
			if !strings.HasPrefix(dir, at+"/") {
				continue
			}
		}
		inside := dir
		if la.Path != "/" {
			inside = strings.TrimPrefix(dir, strings.TrimPrefix(la.Path, "/")+"/")
		}
		e, ok, err := la.contents.Lookup(inside)
		if err != nil || ok {
			return e, la, err
		}
	}
	return pack.Entry{}, nil, nil
}

// top is the entry at the layer's own path.
func (la *layer) top() (pack.Entry, error) {
	name := "."
	if la.contents.Record.File {
		name = "file"
	}
	e, _, err := la.contents.Lookup(name)
	return e, err
}

// write writes the layer as an uncompressed tar: docs/formats.md, section 16.
func (la *layer) write(w io.Writer) error {
	tw := archive.NewTarWriter(w)
	for _, dir := range la.parents {
		e := pack.Entry{Path: dir, Kind: pack.KindDir, Mode: 0o755, Sec: created.Unix()}
		if err := tw.Add(&e, nil); err != nil {
			return err
		}
	}
	prefix := strings.TrimPrefix(la.Path, "/")
	err := la.contents.Walk(func(e *pack.Entry, content io.Reader) error {
		if strings.HasPrefix(path.Base(e.Path), whiteout) {
			return fmt.Errorf("its name begins with %s, which in an image means that something is deleted: rename it", whiteout)
		}
		if la.Root {
			e.UID, e.GID = 0, 0
		}
		switch {
		case prefix == "":
		case e.Path == ".", la.contents.Record.File:
			e.Path = prefix
		default:
			e.Path = prefix + "/" + e.Path
		}
		return tw.Add(e, content)
	})
	if err != nil {
		return err
	}
	return tw.Close()
}

// whiteout begins names that delete; OCI image specification, "Whiteouts".
const whiteout = ".wh."
