package pack

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/internal/base58"
	"github.com/kilnbuild/kiln/warehouse"
)

// CBOR major types, RFC 8949, section 3.
const (
	cborUint  = 0 << 5
	cborNeg   = 1 << 5
	cborBytes = 2 << 5
	cborText  = 3 << 5
	cborMap   = 5 << 5

	cborArrayOpen = 0x9f // of indefinite length
	cborBreak     = 0xff
)

func cborHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func cborString(b []byte, s string) []byte {
	return append(cborHead(b, cborText, uint64(len(s))), s...)
}

func cborInt(b []byte, v int64) []byte {
	if v < 0 {
		return cborHead(b, cborNeg, uint64(-1-v))
	}
	return cborHead(b, cborUint, uint64(v))
}

// rioMeta appends the metadata map of a node, docs/formats.md, section 3.
func rioMeta(b []byte, name string, m *meta) []byte {
	fields := uint64(7)
	if m.link != "" {
		fields++
	}
	device := m.kind == KindBlock || m.kind == KindChar
	if device {
		fields += 2
	}
	b = cborHead(b, cborMap, fields)
	b = cborString(cborString(b, "n"), name)
	b = cborString(cborString(b, "t"), string(rune(m.kind)))
	b = cborInt(cborString(b, "p"), int64(m.mode))
	b = cborInt(cborString(b, "u"), int64(m.uid))
	b = cborInt(cborString(b, "g"), int64(m.gid))
	if m.link != "" {
		b = cborString(cborString(b, "l"), m.link)
	}
	if device {
		b = cborInt(cborString(b, "dM"), int64(m.major))
		b = cborInt(cborString(b, "dm"), int64(m.minor))
	}
	b = cborInt(cborString(b, "m"), m.sec)
	return cborInt(cborString(b, "mn"), int64(m.nsec))
}

// rioFile is the hash of a file whose content has the SHA-384 content.
func rioFile(n *node, content *[48]byte, s *scratch) *[48]byte {
	b := cborHead(s.msg[:0], cborMap, 2)
	b = rioMeta(cborString(b, "m"), n.name, &n.meta)
	b = cborHead(cborString(b, "h"), cborBytes, uint64(len(content)))
	return s.rioSum(append(b, content[:]...))
}

// rioDir is the hash of a directory. Of its entries only files and directories
// count, as in rio.
func rioDir(name string, m *meta, entries []node, s *scratch) *[48]byte {
	b := cborHead(s.msg[:0], cborMap, 2)
	b = rioMeta(cborString(b, "m"), name, m)
	b = append(cborString(b, "l"), cborArrayOpen)
	for _, i := range byRioPath(entries) {
		if n := &entries[i]; n.rio != nil {
			b = append(cborHead(b, cborBytes, uint64(len(n.rio))), n.rio[:]...)
		}
	}
	return s.rioSum(append(b, cborBreak))
}

func (s *scratch) rioSum(b []byte) *[48]byte {
	s.msg = b
	s.sha384.Reset()
	s.sha384.Write(b)
	sum := new([48]byte)
	s.sha384.Sum(sum[:0])
	return sum
}

// byRioPath returns the indexes of entries, sorted by path with a slash behind
// directories.
func byRioPath(entries []node) []int {
	order := make([]int, len(entries))
	for i := range order {
		order[i] = i
	}
	path := func(i int) string {
		if entries[i].meta.kind == KindDir {
			return entries[i].name + "/"
		}
		return entries[i].name
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(path(a), path(b)) })
	return order
}

// rioID is the id of a fileset whose root has the rio hash sum: Tar and Zip differ in
// the packtype alone.
func rioID(packtype string, sum *[48]byte) warehouse.WareID {
	return warehouse.WareID{Packtype: packtype, Hash: base58.Encode(sum[:])}
}
