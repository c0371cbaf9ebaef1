package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"strings"

	"golang.org/x/sys/unix"
)

// known is what a cache knows of a directory, docs/formats.md, section 7.
type known struct {
	seen    seen
	digest  digest // of its message
	rio     *[48]byte
	entries []byte     // by name
	at      []int32    // where in entries each begins
	subs    []knownSub // those that are directories
	own     []byte     // the part of all that is about the directory itself, and its checksum
	all     []byte     // its block, which holds those of the directories in it
}

// A knownSub is a directory in one that is known.
type knownSub struct {
	entry int32
	all   []byte // unread
}

// A knownEntry is an entry that is no directory; of one that is, only name and kind
// are known.
type knownEntry struct {
	name  []byte // a NUL follows
	kind  Kind
	facts []byte
}

const (
	seenBytes  = 4 + 6*8
	blockHead  = 8 + 4         // how long all is, and own
	factBytes  = seenBytes + 8 // of every entry; more depends on its kind
	knownHead  = seenBytes + sha256.Size + 8 + 1
	rioBytes   = 48
	entryCount = 4
	sumBytes   = 8
)

// checksum tells a block that is damaged: with two CRCs by different polynomials, 64
// bits, which processors compute ten times as fast as a SHA-256. Against who may write to
// the cache neither would help.
func checksum(b []byte) uint64 {
	return uint64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))<<32 | uint64(crc32.ChecksumIEEE(b))
}

// readKnown reads the block of a directory; nil if it is damaged.
func readKnown(all []byte) *known {
	if len(all) < blockHead {
		return nil
	}
	size, own := binary.LittleEndian.Uint64(all), uint64(binary.LittleEndian.Uint32(all[8:]))
	if size != uint64(len(all)) || own < knownHead+entryCount || own > size-blockHead || size-blockHead-own < sumBytes {
		return nil
	}
	end := blockHead + int(own)
	b := all[blockHead:end]
	if checksum(b) != binary.LittleEndian.Uint64(all[end:]) {
		return nil
	}
	// The checksum holds, so what is below is what encode wrote.
	k := &known{all: all, own: all[blockHead : end+sumBytes]}
	b = b[k.seen.parse(b):]
	b = b[copy(k.digest.sum[:], b):]
	k.digest.size = int64(binary.LittleEndian.Uint64(b))
	rio := b[8] == 1
	if b = b[9:]; rio {
		k.rio = new([rioBytes]byte)
		b = b[copy(k.rio[:], b):]
	}
	k.at = make([]int32, binary.LittleEndian.Uint32(b))
	k.entries = b[entryCount:]
	k.index(all[end+sumBytes:])
	return k
}

// index finds where entries begin, and the directories in below.
func (k *known) index(below []byte) {
	at := 0
	for i := range k.at {
		k.at[i] = int32(at)
		at += bytes.IndexByte(k.entries[at:], 0) + 2
		switch kind := Kind(k.entries[at-1]); kind {
		case KindDir:
			sub := knownSub{entry: int32(i)}
			// A length that is damaged leaves this one and those behind it unknown.
			if len(below) >= 8 {
				size := min(binary.LittleEndian.Uint64(below), uint64(len(below)))
				sub.all, below = below[:size], below[size:]
			}
			k.subs = append(k.subs, sub)
		case KindFile:
			if at += factBytes + sha256.Size + 1; k.entries[at-1] == 1 {
				at += rioBytes
			}
		case KindSymlink:
			at += factBytes
			at += bytes.IndexByte(k.entries[at:], 0) + 1
		case KindBlock, KindChar:
			at += factBytes + 8
		default:
			at += factBytes
		}
	}
}

func (k *known) entry(i int32) knownEntry {
	b := k.entries[k.at[i]:]
	end := bytes.IndexByte(b, 0)
	return knownEntry{b[:end], Kind(b[end+1]), b[end+2:]}
}

// seen is what was seen of an entry that is no directory; of one that is not trusted, nothing.
func (e *knownEntry) seen() (s seen) {
	s.parse(e.facts)
	return s
}

// hasContent reports whether the SHA-384 of a file is known.
func (e *knownEntry) hasContent() bool { return e.facts[factBytes+sha256.Size] == 1 }

// digests are those of a file; content is nil if it was not needed.
func (e *knownEntry) digests() (d digest, content *[48]byte) {
	b := e.facts[factBytes:]
	d.size = int64(binary.LittleEndian.Uint64(e.facts[4:]))
	if b = b[copy(d.sum[:], b):]; b[0] == 1 {
		content = new([48]byte)
		copy(content[:], b[1:])
	}
	return d, content
}

// stat is what stat(2) said of the entry, as far as it matters, and a symlink's target.
func (e *knownEntry) stat() (st *unix.Stat_t, link string) {
	s := e.seen()
	st = &unix.Stat_t{Mode: s.mode, Size: s.size, Ino: s.ino}
	st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec = s.mtime, s.mnsec, s.ctime, s.cnse
	st.Uid, st.Gid = binary.LittleEndian.Uint32(e.facts[seenBytes:]), binary.LittleEndian.Uint32(e.facts[seenBytes+4:])
	switch more := e.facts[factBytes:]; e.kind {
	case KindSymlink:
		link = string(more[:bytes.IndexByte(more, 0)])
	case KindBlock, KindChar:
		st.Rdev = binary.LittleEndian.Uint64(more)
	}
	return st, link
}

// match finds nodes, which are sorted by name, among the entries of k.
func (k *known) match(nodes []node) {
	if k == nil {
		return
	}
	i := int32(0)
	for j := range nodes {
		n := &nodes[j]
		for ; int(i) < len(k.at); i++ {
			e := k.entry(i)
			order := strings.Compare(string(e.name), n.name)
			if order == 0 && (e.kind == KindDir) == (n.meta.kind == KindDir) {
				n.known = i + 1
			}
			if order >= 0 {
				break
			}
		}
	}
}

// has reports whether k has these entries and no other.
func (k *known) has(nodes []node) bool {
	for i := range nodes {
		if nodes[i].known != int32(i+1) {
			return false
		}
	}
	return len(nodes) == len(k.at)
}

// appendEntry appends what is to be remembered of an entry of a directory.
func appendEntry(b []byte, n *node) []byte {
	b = append(append(b, n.name...), 0, byte(n.meta.kind))
	if n.meta.kind == KindDir {
		return b
	}
	st := n.origin
	if st == nil {
		st = &unix.Stat_t{} // equal to no other
	}
	s := seenOf(st)
	b = s.append(b)
	b = binary.LittleEndian.AppendUint32(b, st.Uid)
	b = binary.LittleEndian.AppendUint32(b, st.Gid)
	switch n.meta.kind {
	case KindFile:
		b = append(b, n.digest.sum[:]...)
		b = appendSum(b, n.content)
	case KindSymlink:
		b = append(append(b, n.meta.link...), 0)
	case KindBlock, KindChar:
		b = binary.LittleEndian.AppendUint64(b, st.Rdev)
	}
	return b
}

// appendSum appends a SHA-384, if there is one.
func appendSum(b []byte, sum *[48]byte) []byte {
	if sum == nil {
		return append(b, 0)
	}
	return append(append(b, 1), sum[:]...)
}

// parse reads what append wrote and returns how many bytes that were.
func (s *seen) parse(b []byte) int {
	_ = b[seenBytes-1]
	s.mode = binary.LittleEndian.Uint32(b)
	s.size, s.mtime, s.mnsec = int64(binary.LittleEndian.Uint64(b[4:])), int64(binary.LittleEndian.Uint64(b[12:])), int64(binary.LittleEndian.Uint64(b[20:]))
	s.ctime, s.cnse, s.ino = int64(binary.LittleEndian.Uint64(b[28:])), int64(binary.LittleEndian.Uint64(b[36:])), binary.LittleEndian.Uint64(b[44:])
	return seenBytes
}

// A block is what is to be remembered of a directory and all below it.
type block struct {
	same   bool // what was known of it
	size   int
	pieces [][]byte // unless same
}

// blockPieces are the pieces of d's block.
func (d *dir) blockPieces() [][]byte {
	if d.block.same {
		return [][]byte{d.known.all}
	}
	return d.block.pieces
}

// remember makes d.block; asKnown says that d's digest is the one that is known.
func (cw *cacheWalk) remember(d *dir, asKnown bool) {
	if cw == nil {
		return
	}
	same := asKnown
	for i := range d.subs {
		same = same && d.subs[i].block.same
	}
	if same {
		d.block = block{same: true, size: len(d.known.all)}
		return
	}
	var own []byte
	if asKnown {
		own = d.known.own
	} else {
		own = cw.encode(d)
	}
	head := make([]byte, blockHead)
	d.block = block{size: len(head) + len(own), pieces: [][]byte{head, own}}
	for i := range d.subs {
		if sub := &d.subs[i]; !sub.skip {
			d.block.pieces = append(d.block.pieces, sub.blockPieces()...)
			d.block.size += sub.block.size
		}
	}
	binary.LittleEndian.PutUint64(head, uint64(d.block.size))
	binary.LittleEndian.PutUint32(head[8:], uint32(len(own)-sumBytes))
}

// encode writes what is to be remembered of d itself. A directory that changed too
// short a time ago, or is taken only for what is in it, is to be listed anew.
func (cw *cacheWalk) encode(d *dir) []byte {
	var s seen
	if !d.single && !d.maybe && cw.settled(&d.st) {
		if s = seenOf(&d.st); d.known == nil || d.known.seen != s {
			cw.relisted.Add(1)
		}
	}
	b := s.append(make([]byte, 0, knownHead+rioBytes+entryCount+len(d.nodes)*(factBytes+64)+sumBytes))
	b = append(b, d.digest.sum[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.digest.size))
	b = appendSum(b, d.rio)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(d.nodes)))
	for i := range d.nodes {
		b = appendEntry(b, &d.nodes[i])
	}
	return binary.LittleEndian.AppendUint64(b, checksum(b))
}
