package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"golang.org/x/sys/unix"
)

// seen is what an entry's stat said; any change to the entry changes it, since
// the kernel moves ctime on each and nobody can set it.
type seen struct {
	mode                      uint32 // type and permissions
	size                      int64  // files
	mtime, mnsec, ctime, cnse int64
	ino                       uint64
}

func seenOf(st *unix.Stat_t) seen {
	s := seen{
		mode: st.Mode, mtime: st.Mtim.Sec, mnsec: st.Mtim.Nsec,
		ctime: st.Ctim.Sec, cnse: st.Ctim.Nsec, ino: st.Ino,
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		s.size = st.Size
	}
	return s
}

// made takes over the stat of an entry that has just been given its metadata, and
// sees that it has it: a file system may take less than it is told, and say nothing.
func (n *node) made(st *unix.Stat_t) error {
	n.seen = seenOf(st)
	return n.meta.on(st)
}

// on returns an error if the entry on disk does not have the metadata m.
func (m *meta) on(st *unix.Stat_t) error {
	if st.Mtim.Sec != m.sec || uint32(st.Mtim.Nsec) != m.nsec {
		return fmt.Errorf("its mtime, %d.%09d seconds since 1970, is none that this file system can keep", m.sec, m.nsec)
	}
	if m.kind != KindSymlink && st.Mode&0o7777 != m.mode {
		return fmt.Errorf("its mode %04o is none that this file system lets its owner give: it is %04o", m.mode, st.Mode&0o7777)
	}
	return nil
}

func (s *seen) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, s.mode)
	for _, v := range [...]uint64{uint64(s.size), uint64(s.mtime), uint64(s.mnsec), uint64(s.ctime), uint64(s.cnse), s.ino} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// stampOf hashes the entries of a directory: names, what was seen, and what is below.
func stampOf(nodes []node, s *scratch) [sha256.Size]byte {
	b := s.msg[:0]
	for i := range nodes {
		n := &nodes[i]
		b = append(append(b, n.name...), 0)
		b = n.seen.append(b)
		if n.meta.kind == KindDir {
			b = append(b, n.stamp[:]...)
		}
	}
	s.msg = b
	return sha256.Sum256(b)
}

// rootStamp makes the stamp of a fileset from that of its root. The root's ctime
// does not count: renaming the fileset into the warehouse moves it.
func rootStamp(root *dir) string {
	at := root.seen
	at.ctime, at.cnse = 0, 0
	sum := sha256.Sum256(append(at.append([]byte("kiln stamp 1\n")), root.stamp[:]...))
	return hex.EncodeToString(sum[:])
}
