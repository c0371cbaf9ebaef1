package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// provenVersion changes when the same bytes, commit or image make another ware.
const provenVersion = 1

// provenID is the alias of the ware that what e pins of w's source has made on this
// machine: docs/formats.md, section 5. An entry in which somebody has put another id is
// so found out without the source. It is zero for what pins nothing.
func provenID(w *formula.Ware, e LockEntry) warehouse.WareID {
	pins, name := cmp.Or(strings.ToLower(e.SHA256), e.Commit, e.Manifest, e.Digest), ""
	if pins == "" {
		return warehouse.WareID{}
	}
	if u, err := url.Parse(w.Source.URL); err == nil {
		name = baseName(u.Path) // which can tell whether an archive is unpacked
	}
	text := fmt.Sprintf("source %d\n%q %q %d %q %t %q %q %q", provenVersion,
		pins, name, e.Strip, e.Subdir, e.NoSubmodules, e.Include, e.Exclude, canonicalFilters(e.Filters))
	sum := sha256.Sum256([]byte(text))
	return warehouse.WareID{Packtype: "derived", Hash: hex.EncodeToString(sum[:])}
}

// prove notes that e is what w's source has given.
func (src *sources) prove(w *formula.Ware, e LockEntry) error {
	return src.o.Warehouse.Alias(warehouse.Record{ID: provenID(w, e), Tree: e.ID})
}

// madeOf returns e with what the bytes of a hash have made of w's url on this machine,
// without an id if they have made nothing, or are not those of the formula.
func (src *sources) madeOf(w *formula.Ware, e LockEntry, sha256 string) LockEntry {
	if sha256 == "" || w.Source.SHA256 != "" && !strings.EqualFold(w.Source.SHA256, sha256) {
		return e
	}
	e.SHA256 = sha256
	if rec, err := src.o.Warehouse.Get(provenID(w, e)); err == nil {
		e.ID = rec.Tree
	}
	return e
}

// proven reports whether it is known here what s pins. If that is not the ware that the
// lock file names, the error says so.
func (src *sources) proven(s *source) (bool, error) {
	id := provenID(s.wares[0], s.entry)
	if id.IsZero() {
		return false, nil
	}
	rec, err := src.o.Warehouse.Get(id)
	if err != nil {
		return false, nil
	}
	src.o.Warehouse.Touch(id) // or it would be collected as unused, whatever uses the ware
	if rec.Tree != s.id {
		return true, mismatchError{fmt.Errorf("the lock file names %s, and what it pins has given %s here", s.id, rec.Tree)}
	}
	return true, nil
}
