package warehouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// ErrMissing says that a ware or memo is not there. The error that matches it
// names what is missing and why.
var ErrMissing = errors.New("not in the warehouse")

// A MissingError is a look-up that found nothing it can use. It matches ErrMissing.
type MissingError struct {
	What   string // "ware tree:…", "memo …"
	Reason error  // why what is there cannot be used; nil: there is nothing
}

func (e *MissingError) Error() string {
	if e.Reason == nil {
		return e.What + ": " + ErrMissing.Error()
	}
	return e.What + ": " + ErrMissing.Error() + ": " + e.Reason.Error()
}

// Is makes every MissingError match ErrMissing.
func (e *MissingError) Is(target error) bool { return target == ErrMissing }

// Unwrap returns the reason, if there is one.
func (e *MissingError) Unwrap() error { return e.Reason }

// A Record says what is known of a ware whose fileset is in the warehouse. Its
// form on disk is in docs/formats.md, section 5.
type Record struct {
	ID      WareID    `json:"id"`
	Tree    WareID    `json:"tree"`           // the fileset's tree id; equal to ID for a tree
	File    bool      `json:"file,omitempty"` // the ware is one file, not a directory
	Entries int64     `json:"entries"`        // files, directories, links; the root counts
	Bytes   int64     `json:"bytes"`          // content of files
	Stamp   string    `json:"stamp"`          // over every entry's stat; pack.Check explains it
	Created time.Time `json:"created"`        // UTC
	// Alias says that the fileset lies under Tree and is shared with that record,
	// which also says Entries, Bytes, File and Stamp. Local.Alias makes such records.
	Alias bool   `json:"alias,omitempty"`
	Image *Image `json:"image,omitempty"` // of packtype oci
	// Dirs are the Directory messages of the fileset, the root last, when they
	// are small; of larger filesets they are in a file of their own.
	Dirs []byte `json:"dirs,omitempty"`
}

// WithoutDirs returns rec without what only Commit needs of it.
func (rec Record) WithoutDirs() Record {
	rec.Dirs = nil
	return rec
}

// Get returns the record of a ware. The error matches ErrMissing when the ware is
// not there, or its record cannot be read as one.
func (l *Local) Get(id WareID) (Record, error) {
	p, err := l.place(id)
	if err != nil {
		return Record{}, err
	}
	return l.read(p, id)
}

// read reads the record at p, and for an alias the one of its fileset.
func (l *Local) read(p place, id WareID) (Record, error) {
	rec, err := readRecord(p.record, id)
	if err != nil || !rec.Alias {
		return rec, err
	}
	return l.behind(rec)
}

func readRecord(path string, id WareID) (Record, error) {
	data, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, &MissingError{What: "ware " + id.String()}
	}
	if noFile(err) {
		return Record{}, &MissingError{"ware " + id.String(), fmt.Errorf("its record is damaged: %w", err)}
	}
	if err != nil {
		return Record{}, fmt.Errorf("read record of ware %s: %w", id, err)
	}
	var rec Record
	if err := json.Unmarshal(data, &rec); err != nil {
		return Record{}, &MissingError{"ware " + id.String(), fmt.Errorf("its record is damaged: %w", err)}
	}
	if rec.ID != id {
		return Record{}, &MissingError{"ware " + id.String(), fmt.Errorf("its record names %s", rec.ID)}
	}
	return rec, nil
}

// Has reports whether the ware is there. It does not look at its content.
func (l *Local) Has(id WareID) bool {
	_, err := l.Get(id)
	return err == nil
}

// Fileset returns the absolute path of a ware's fileset: of the directory, or of
// the file for a ware that is one file.
func (l *Local) Fileset(rec Record) string {
	p, err := l.place(rec.holder())
	if err != nil {
		return ""
	}
	if rec.File {
		return filepath.Join(p.fileset, "file")
	}
	return p.fileset
}

// place says where a ware lies.
type place struct{ fileset, record, dirs string }

func (l *Local) place(id WareID) (place, error) {
	// An id made by hand could name anything; below, only what ParseWareID
	// accepts becomes part of a path.
	if parsed, err := ParseWareID(id.String()); err != nil || parsed != id || len(id.Hash) < 2 {
		return place{}, fmt.Errorf("ware id %q: not a name for a fileset", id)
	}
	// Not sharded: with one directory for each two digits, making those was most
	// of what the first few hundred commits cost (0.24 ms each on ext4).
	rel := id.Packtype + "/" + id.Hash
	return place{
		fileset: l.dir + "/fileset/" + rel,
		record:  l.dir + "/record/" + rel + ".json",
		dirs:    l.dir + "/record/" + rel + ".dirs",
	}, nil
}

// List returns the records of all wares, by packtype and hash. Records that cannot
// be read are left out and joined in the error.
func (l *Local) List(ctx context.Context) ([]Record, error) {
	var recs []Record
	var bad error
	root := filepath.Join(l.dir, "record")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				bad = errors.Join(bad, err)
			}
			return nil
		}
		hash, ok := strings.CutSuffix(d.Name(), ".json")
		if d.IsDir() || !ok {
			return nil
		}
		packtype := filepath.Base(filepath.Dir(path))
		rec, err := readRecord(path, WareID{Packtype: packtype, Hash: hash})
		if gone := (*MissingError)(nil); errors.As(err, &gone) && gone.Reason == nil {
			return nil // removed since the directory was read
		}
		if err == nil && rec.Alias {
			if rec, err = l.behind(rec); errors.Is(err, ErrMissing) {
				return nil // its fileset was removed, and it with that
			}
		}
		if err != nil {
			bad = errors.Join(bad, err)
			return nil
		}
		recs = append(recs, rec)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list warehouse: %w", err)
	}
	return recs, bad
}

// An AmbiguousError says that several wares have ids that begin alike.
type AmbiguousError struct {
	Prefix string
	IDs    []WareID // as in List
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("ware %s: %d wares begin so, such as %s and %s: give more of the id",
		e.Prefix, len(e.IDs), e.IDs[0], e.IDs[1])
}

// Find returns the one ware whose id begins with prefix, which may leave out the
// packtype. The error matches ErrMissing when there is none, and is an AmbiguousError
// when there are several.
func (l *Local) Find(ctx context.Context, prefix string) (Record, error) {
	if prefix == "" {
		return Record{}, errors.New(`ware "": want a ware id, or the beginning of one`)
	}
	if id, err := ParseWareID(prefix); err == nil {
		rec, err := l.Get(id)
		var damaged *MissingError
		if err == nil || errors.As(err, &damaged) && damaged.Reason != nil {
			return rec, err
		}
	}
	recs, err := l.List(ctx)
	if err != nil && len(recs) == 0 {
		return Record{}, err
	}
	var found []Record
	for _, rec := range recs {
		if strings.HasPrefix(rec.ID.String(), prefix) || strings.HasPrefix(rec.ID.Hash, prefix) {
			found = append(found, rec)
		}
	}
	switch len(found) {
	case 0:
		return Record{}, &MissingError{What: "ware " + prefix}
	case 1:
		return found[0], nil
	}
	ambiguous := &AmbiguousError{Prefix: prefix}
	for _, rec := range found {
		ambiguous.IDs = append(ambiguous.IDs, rec.ID)
	}
	return Record{}, ambiguous
}
