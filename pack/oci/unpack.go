package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// Unpack makes a fileset of the image's layers in the warehouse: a tree. What a layer
// says of a path, or that it is gone, holds over the layers below it. Names that lead
// through symlinks of the image are followed inside it, so that bin/x of a layer is
// usr/bin/x where bin is a link to that. Filters that are not set are as in
// DefaultFilters. Layers are verified as they are read, and decompressed ahead;
// whatever they say, nothing outside the fileset is written, and nothing is left
// after an error, which names the layer, and the entry where there is one.
//
// With nothing set in o but filters that are the defaults, the tree is also what the
// image's own ware id names, and a record of that is kept, with the configuration.
func (img *Image) Unpack(ctx context.Context, l *warehouse.Local, o pack.BuildOptions) (warehouse.Record, error) {
	rec, err := img.unpack(ctx, l, o)
	if err == nil && img.isPlain(o) {
		err = l.Alias(warehouse.Record{ID: img.WareID(), Tree: rec.Tree, Image: img.Meta()})
	}
	if err != nil {
		return warehouse.Record{}, fmt.Errorf("unpack %s: %w", o.Name, err)
	}
	return rec, nil
}

func (img *Image) isPlain(o pack.BuildOptions) bool {
	return o.Strip == 0 && len(o.Include) == 0 && len(o.Exclude) == 0 &&
		o.Filters.Over(DefaultFilters()) == DefaultFilters()
}

func (img *Image) unpack(ctx context.Context, l *warehouse.Local, o pack.BuildOptions) (rec warehouse.Record, err error) {
	o.Packtype, o.Replace = pack.Tree, true
	o.Filters = o.Filters.Over(DefaultFilters())
	stream, entries := limits(o)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var packed atomic.Int64
	o.Packed = packed.Load
	b, err := pack.NewBuilder(ctx, l, o)
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	f := &flattener{b: b, tree: newTree(), entries: entries, limit: entries}
	if err := img.apply(ctx, f, stream, &packed); err != nil {
		return rec, err
	}
	return b.Commit()
}

// streamRoom is how much larger than their files tar streams may be in all: a header
// for each of a million entries, and the padding of some.
const streamRoom = 2 << 30

// limits are how many bytes a layer's tar stream may have, and how many entries all
// layers together, what they replace included.
func limits(o pack.BuildOptions) (stream, entries int64) {
	stream, entries = math.MaxInt64, math.MaxInt64
	if o.MaxBytes >= 0 {
		stream = cmp.Or(o.MaxBytes, pack.DefaultMaxBytes) + streamRoom
	}
	if o.MaxEntries >= 0 {
		entries = cmp.Or(o.MaxEntries, pack.DefaultMaxEntries)
	}
	return stream, entries
}

// apply applies all layers, and counts in packed what it reads of blobs. While one is
// unpacked the next ones are decompressed.
func (img *Image) apply(ctx context.Context, f *flattener, limit int64, packed *atomic.Int64) error {
	readers := make([]*layerReader, 0, len(img.Layers))
	defer func() {
		for _, r := range readers {
			r.stop()
		}
	}()
	for i := range img.Layers {
		for len(readers) < aheadLayers && i+len(readers) < len(img.Layers) {
			readers = append(readers, readLayer(ctx, &img.Layers[i+len(readers)], limit, packed))
		}
		r := readers[0]
		err := f.apply(ctx, r)
		// A stream that is not what it should be explains any other error.
		if verr := r.verify(); errors.Is(verr, ErrMismatch) || err == nil {
			err = verr
		}
		if err != nil {
			return fmt.Errorf("layer %d of %d, %s: %w", i+1, len(img.Layers), img.Layers[i].name(), err)
		}
		r.stop()
		readers = readers[1:]
	}
	return nil
}

func (l *Layer) name() string {
	if l.Digest == "" {
		return l.DiffID.String()
	}
	return l.Digest.String()
}
