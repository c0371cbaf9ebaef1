package pack

import (
	"encoding/hex"
	"strings"
)

// Lookup returns the entry at path, which has no "." and ".." in it; "." is the root. It
// follows no symlinks, and reports false if there is nothing.
func (c *Contents) Lookup(path string) (Entry, bool, error) {
	at, nodes, err := c.directory(c.root)
	if err != nil {
		return Entry{}, false, c.about(path, err)
	}
	if path == "." {
		return entryOf("", &at), !c.Record.File, nil
	}
	names := strings.Split(path, "/")
	for i, name := range names {
		n := find(nodes, name)
		if n == nil || i < len(names)-1 && n.meta.kind != KindDir {
			return Entry{}, false, nil
		}
		if n.meta.kind == KindDir {
			if n.meta, nodes, err = c.directory(hex.EncodeToString(n.digest.sum[:])); err != nil {
				return Entry{}, false, c.about(path, err)
			}
		}
		if i == len(names)-1 {
			e := entryOf(path, &n.meta)
			e.Size = n.digest.size
			if n.meta.kind != KindFile {
				e.Size = 0
			}
			return e, true, nil
		}
	}
	return Entry{}, false, nil
}

func find(nodes []node, name string) *node {
	for i := range nodes {
		if nodes[i].name == name {
			return &nodes[i]
		}
	}
	return nil
}
