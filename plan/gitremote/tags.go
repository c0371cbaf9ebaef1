package gitremote

import (
	"context"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/pack/git"
)

// A Tag is a tag of a repository and what it stands for: an annotated one for what it
// was put on, which is a commit unless its maker meant something else.
type Tag struct {
	Name string // without "refs/tags/"
	ID   git.ID
}

// Tags returns the tags of the repository at rawURL, in the order it gives them. It
// fetches nothing.
func Tags(ctx context.Context, rawURL string, o Options) ([]Tag, error) {
	u, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	if o.Offline {
		return nil, ErrOffline
	}
	r, err := connect(ctx, u, &o)
	if err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	defer r.close()
	refs, err := r.refs(ctx, []string{"refs/tags/"})
	if err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	behind := map[string]git.ID{}
	for _, p := range r.peeled {
		behind[p.name] = p.id
	}
	var tags []Tag
	for _, f := range refs {
		id := f.id
		if peeled, ok := behind[f.name]; ok {
			id = peeled
		}
		tags = append(tags, Tag{strings.TrimPrefix(f.name, "refs/tags/"), id})
	}
	return tags, nil
}
