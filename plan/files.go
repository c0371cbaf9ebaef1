package plan

import (
	"context"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// maxFiles is how many files a reason names.
const maxFiles = 5

type fileChanges struct {
	files []pack.Change
	more  bool
}

// addFiles says of a changed input that is a path ware which of its files changed.
// The path is scanned again for that, once for each ware, with its stat cache.
func (x *explainer) addFiles(ctx context.Context, e *Explanation) {
	if x.p.sources == nil {
		return
	}
	for i := range e.Reasons {
		r := &e.Reasons[i]
		if r.Kind != ReasonInput || r.Old == "" || r.New == "" || r.Old == r.New {
			continue
		}
		for _, in := range e.Step.Inputs {
			if in.Port == r.Name && in.From.Ware != "" {
				c := x.filesOf(ctx, in.From.Ware, r.Old)
				r.Files, r.Text = c.files, r.Text+c.text()
			}
		}
	}
}

func (x *explainer) filesOf(ctx context.Context, addr, old string) fileChanges {
	key := [2]string{addr, old}
	c, ok := x.files[key]
	if ok {
		return c
	}
	s, id := x.p.sources.byAddr[addr], warehouse.WareID{}
	if id.UnmarshalText([]byte(old)) == nil && s != nil && s.wares[0].Source.Kind == formula.SourcePath {
		c = x.p.sources.changes(ctx, s.wares[0], id)
	}
	if x.files == nil {
		x.files = map[[2]string]fileChanges{}
	}
	x.files[key] = c
	return c
}

// changes says in which files a path ware differs from what it was; nothing if that
// cannot be told.
func (src *sources) changes(ctx context.Context, w *formula.Ware, old warehouse.WareID) (c fileChanges) {
	o, err := src.packs.options(w, src.lockPath, nil)
	if err == nil {
		c.files, c.more, err = pack.Changes(ctx, src.o.Warehouse, old, sourcePath(w), o, maxFiles)
	}
	if err != nil {
		return fileChanges{}
	}
	return c
}

// text is "" or ": a changed, b added and more".
func (c fileChanges) text() string {
	if len(c.files) == 0 {
		return ""
	}
	var parts []string
	for _, f := range c.files {
		parts = append(parts, fmt.Sprintf("%s %s", f.Path, f.What))
	}
	text := ": " + strings.Join(parts, ", ")
	if c.more {
		text += " and more"
	}
	return text
}
