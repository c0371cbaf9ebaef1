package warehouse

import "fmt"

// An Image is what an image's configuration says of the containers made of it. It is
// no part of the fileset and changes no step; people and exporters read it.
type Image struct {
	Platform   string            `json:"platform,omitempty"` // such as linux/arm64/v8
	Env        []string          `json:"env,omitempty"`      // NAME=VALUE
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	User       string            `json:"user,omitempty"` // as written: names or numbers, USER[:GROUP]
	WorkingDir string            `json:"working_dir,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

// Alias makes rec.ID another name of the fileset of rec.Tree, which must be in the
// warehouse: what git and oci ids name is a tree, kept once however many commits or
// images hold it. Of rec only ID, Tree, Created and Image count. It is idempotent; an
// alias of another tree is replaced, a ware with a fileset of its own stays as it is.
// When the tree is removed the alias counts as missing, until the tree is back.
func (l *Local) Alias(rec Record) error {
	p, err := l.place(rec.ID)
	if err != nil {
		return err
	}
	if rec.ID.Packtype == "tree" {
		return fmt.Errorf("alias %s of %s: a tree names its own content", rec.ID, rec.Tree)
	}
	err = l.locked(func() error {
		if old, err := readRecord(p.record, rec.ID); err == nil && !old.Alias {
			return nil
		}
		if _, err := l.Get(rec.Tree); err != nil {
			return err
		}
		if tree, err := l.place(rec.Tree); err == nil {
			touchAfter(tree.record, 0)
		}
		return l.writeRecord(p, Record{ID: rec.ID, Tree: rec.Tree, Alias: true, Image: rec.Image, Created: created(rec)})
	})
	if err != nil {
		return fmt.Errorf("alias ware %s: %w", rec.ID, err)
	}
	return nil
}

// holder is the id under which the fileset of rec lies.
func (rec Record) holder() WareID {
	if rec.Alias {
		return rec.Tree
	}
	return rec.ID
}

// behind completes the record of an alias with what its fileset's record says.
func (l *Local) behind(alias Record) (Record, error) {
	p, err := l.place(alias.Tree)
	if err != nil {
		return Record{}, &MissingError{"ware " + alias.ID.String(), fmt.Errorf("its record is damaged: %w", err)}
	}
	rec, err := readRecord(p.record, alias.Tree)
	if err != nil {
		return Record{}, &MissingError{"ware " + alias.ID.String(), err}
	}
	if rec.Alias {
		return Record{}, &MissingError{"ware " + alias.ID.String(), fmt.Errorf("its fileset %s is an alias itself", rec.ID)}
	}
	rec.ID, rec.Alias, rec.Created, rec.Image = alias.ID, true, alias.Created, alias.Image
	return rec, nil
}
