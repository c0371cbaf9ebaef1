package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/warehouse"
)

// A Digest is the SHA-256 of some content, in 64 hex digits, and its size in bytes.
type Digest struct {
	SHA256 string
	Size   int64
}

// ReadListing makes a Listing of the Directory messages of a tree that came from
// elsewhere, in any order; those of no part of it are left out. The error matches
// warehouse.ErrMismatch if one of them is not as kiln would have written it, and is a
// *MissingDirError if one is not there.
func ReadListing(tree warehouse.WareID, messages iter.Seq[[]byte]) (*Listing, error) {
	have := map[string][]byte{}
	for msg := range messages {
		sum := sha256.Sum256(msg)
		have[hex.EncodeToString(sum[:])] = msg
	}
	root, err := RootDigest(tree)
	if err != nil {
		return nil, err
	}
	l := &Listing{map[string][]byte{}, root.SHA256}
	wanted := []Digest{root}
	for len(wanted) > 0 {
		d := wanted[len(wanted)-1]
		wanted = wanted[:len(wanted)-1]
		if _, known := l.msgs[d.SHA256]; known {
			continue
		}
		msg, ok := have[d.SHA256]
		if !ok {
			return nil, &MissingDirError{d}
		}
		if int64(len(msg)) != d.Size {
			return nil, fmt.Errorf("%w: a directory has %d bytes in place of %d", warehouse.ErrMismatch, len(msg), d.Size)
		}
		_, dirs, err := DirectoryRefs(msg)
		if err == nil {
			err = canonical(msg, d == root)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: directory %s: %w", warehouse.ErrMismatch, d.SHA256, err)
		}
		l.msgs[d.SHA256] = msg
		wanted = append(wanted, dirs...)
	}
	return l, nil
}

// A MissingDirError says that a Directory message of a tree is not there.
type MissingDirError struct{ Digest Digest }

func (e *MissingDirError) Error() string {
	return fmt.Sprintf("the Directory message %s-%d is missing", e.Digest.SHA256, e.Digest.Size)
}

// RootDigest returns the digest of a tree's root message, which is its id.
func RootDigest(tree warehouse.WareID) (Digest, error) {
	hash, size, ok := strings.Cut(tree.Hash, "-")
	n, err := strconv.ParseInt(size, 10, 64)
	if tree.Packtype != Tree || !ok || err != nil || n < 0 || strconv.FormatInt(n, 10) != size ||
		len(hash) != 2*sha256.Size || strings.Trim(hash, "0123456789abcdef") != "" {
		return Digest{}, fmt.Errorf("ware id %q: want tree:HASH-SIZE, with 64 hex digits and bytes", tree)
	}
	return Digest{hash, n}, nil
}

// DirectoryRefs returns the digests of the files and directories in a Directory
// message.
func DirectoryRefs(msg []byte) (files, dirs []Digest, err error) {
	_, nodes, err := decodeDirectory(msg)
	if err != nil {
		return nil, nil, err
	}
	for i := range nodes {
		n := &nodes[i]
		d := Digest{hex.EncodeToString(n.digest.sum[:]), n.digest.size}
		switch n.meta.kind {
		case KindFile:
			files = append(files, d)
		case KindDir:
			dirs = append(dirs, d)
		}
	}
	return files, dirs, nil
}

var errNotCanonical = errors.New("it is not written as kiln writes Directory messages")

// canonical checks that a message is what directoryMessage or fileRootMessage makes
// of what it says, so that the ware built of it has its id.
func canonical(msg []byte, root bool) error {
	m, nodes, err := decodeDirectory(msg)
	if err != nil {
		return err
	}
	sortNodes(nodes)
	for i := range nodes {
		if i > 0 && nodes[i].name == nodes[i-1].name {
			return fmt.Errorf("%q is in it twice", nodes[i].name)
		}
		if nodes[i].digest.size < 0 {
			return fmt.Errorf("%q has %d bytes", nodes[i].name, nodes[i].digest.size)
		}
	}
	var again []byte
	switch {
	case !isFileRoot(msg):
		again = directoryMessage(nil, &m, nodes)
	case root && len(nodes) == 1 && nodes[0].meta.kind == KindFile:
		again = fileRootMessage(nil, &nodes[0])
	}
	if !bytes.Equal(again, msg) {
		return errNotCanonical
	}
	return nil
}

// Messages returns the Directory messages of the fileset, each once, by no order.
func (l *Listing) Messages() iter.Seq2[Digest, []byte] {
	return func(yield func(Digest, []byte) bool) {
		for hash, msg := range l.msgs {
			if !yield(Digest{hash, int64(len(msg))}, msg) {
				return
			}
		}
	}
}

// RootMessage returns the Directory message of the root, and its digest.
func (l *Listing) RootMessage() (Digest, []byte) {
	msg := l.msgs[l.root]
	return Digest{l.root, int64(len(msg))}, msg
}

// Size counts the entries of the fileset, and the bytes in its files. They may be far
// more than messages: a directory counts wherever it is. A fileset that is deeper
// than any can be is an error.
func (l *Listing) Size() (entries, bytes int64, err error) {
	known := map[string][2]int64{}
	var count func(hash string, depth int) ([2]int64, error)
	count = func(hash string, depth int) (sum [2]int64, err error) {
		if sum, ok := known[hash]; ok {
			return sum, nil
		}
		if depth > maxDepth {
			return sum, fmt.Errorf("its directories are more than %d deep", maxDepth)
		}
		_, nodes, err := decodeDirectory(l.msgs[hash])
		if err != nil {
			return sum, err
		}
		sum[0] = 1
		for i := range nodes {
			below := [2]int64{1, 0}
			switch n := &nodes[i]; n.meta.kind {
			case KindDir:
				below, err = count(hex.EncodeToString(n.digest.sum[:]), depth+1)
			case KindFile:
				below[1] = n.digest.size
			}
			if err != nil {
				return sum, err
			}
			sum[0], sum[1] = saturated(sum[0], below[0]), saturated(sum[1], below[1])
		}
		known[hash] = sum
		return sum, nil
	}
	sum, err := count(l.root, 0)
	return sum[0], sum[1], err
}

// saturated adds without overflow.
func saturated(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
