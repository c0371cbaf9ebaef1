// Package git reads git repositories on this machine and makes filesets of their
// commits. It knows objects, packs, refs and submodules; it opens no connection and
// runs no program. Where repositories come from is package plan's to know.
//
// Nothing is trusted: every object that is read is hashed, SHA-1 with detection of
// collisions, and what a tree names is checked before anything is made of it. The
// reading is kiln's own because it is most of what a checkout costs: blobs are
// inflated by several workers, ahead of the one that writes them.
package git

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash"

	"crypto/sha256"

	"github.com/pjbgf/sha1cd"
)

// ErrMissing says that an object is not in a repository.
var ErrMissing = errors.New("not in the repository")

// An ID names an object: its SHA-1 (20 bytes) or SHA-256 (32 bytes), not as hex.
type ID string

// ParseID reads an id of 40 or 64 hexadecimal digits.
func ParseID(text string) (ID, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != sha1cd.Size && len(raw) != sha256.Size {
		return "", fmt.Errorf("%q is no object id, which is 40 or 64 hexadecimal digits", text)
	}
	return ID(raw), nil
}

func (id ID) String() string { return hex.EncodeToString([]byte(id)) }

// newHash returns the hash whose sums have size bytes.
func newHash(size int) hash.Hash {
	if size == sha256.Size {
		return sha256.New()
	}
	return sha1cd.New()
}

// sum ends h. The error says that the data was made to collide with other data.
func sum(h hash.Hash) (ID, error) {
	cd, ok := h.(sha1cd.CollisionResistantHash)
	if !ok {
		return ID(h.Sum(nil)), nil
	}
	id, collision := cd.CollisionResistantSum(nil)
	if collision {
		return "", errors.New("it was made to have the SHA-1 of another object")
	}
	return ID(id), nil
}

// A Kind is what an object is, as packs number it.
type Kind uint8

// The kinds of objects. The last two are only in packs.
const (
	Commit   Kind = 1
	Tree     Kind = 2
	Blob     Kind = 3
	Tag      Kind = 4
	ofsDelta Kind = 6
	refDelta Kind = 7
)

var kindNames = [...]string{Commit: "commit", Tree: "tree", Blob: "blob", Tag: "tag", ofsDelta: "delta", refDelta: "delta"}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("object of kind %d", uint8(k))
}

func kindOf(name string) Kind {
	for k := Commit; k <= Tag; k++ {
		if kindNames[k] == name {
			return k
		}
	}
	return 0
}

// hashHeader begins the hash of an object.
func hashHeader(h hash.Hash, k Kind, size int64) { fmt.Fprintf(h, "%s %d\x00", k, size) }

// HashObject returns the id of an object, of size bytes of id.
func HashObject(k Kind, data []byte, size int) (ID, error) {
	h := newHash(size)
	hashHeader(h, k, int64(len(data)))
	h.Write(data)
	return sum(h)
}
