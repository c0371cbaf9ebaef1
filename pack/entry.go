package pack

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Kind is what an entry is. The letters are those rio hashes.
type Kind byte

const (
	KindFile    Kind = 'f'
	KindDir     Kind = 'd'
	KindSymlink Kind = 'L'
	KindFifo    Kind = 'p'
	KindBlock   Kind = 'D'
	KindChar    Kind = 'c'

	// KindHardlink is an Entry's alone: in a fileset it is a file, copied from the
	// one it names.
	KindHardlink Kind = 'h'
)

// meta is what counts of an entry beside its name and content, after filters.
type meta struct {
	kind         Kind
	mode         uint32 // 07777
	uid, gid     uint32
	sec          int64 // mtime
	nsec         uint32
	major, minor uint32 // KindBlock, KindChar
	link         string // KindSymlink
}

// errSkip says that an entry is left out of the ware.
var errSkip = errors.New("left out")

// metaOf reads an entry's metadata from its stat; it knows no link target.
func metaOf(st *unix.Stat_t) (meta, error) {
	m := meta{
		mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid,
		sec: st.Mtim.Sec, nsec: uint32(st.Mtim.Nsec),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		m.kind = KindFile
	case unix.S_IFDIR:
		m.kind = KindDir
	case unix.S_IFLNK:
		m.kind, m.mode = KindSymlink, 0o777
	case unix.S_IFIFO:
		m.kind = KindFifo
	case unix.S_IFBLK:
		m.kind = KindBlock
	case unix.S_IFCHR:
		m.kind = KindChar
	case unix.S_IFSOCK:
		return m, errors.New("it is a socket, which no ware can hold: remove it or exclude it")
	default:
		return m, fmt.Errorf("it is of unknown type %#o", st.Mode&unix.S_IFMT)
	}
	if m.kind == KindBlock || m.kind == KindChar {
		m.major, m.minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	}
	return m, nil
}

// apply changes m to what the filters make of it. It returns errSkip for an entry
// that they leave out. fifos says whether the packtype takes fifos as they are;
// if not they are under the dev filter.
func (f *Filters) apply(m *meta, fifos bool) error {
	switch m.kind {
	case KindFifo, KindBlock, KindChar:
		if m.kind == KindFifo && fifos {
			break
		}
		if f.dev == ignore {
			return errSkip
		}
		if f.dev == reject {
			return fmt.Errorf("it is a %s, which the filter dev=reject forbids: remove it, or set dev=ignore or dev=keep",
				map[Kind]string{KindFifo: "named pipe", KindBlock: "block device", KindChar: "character device"}[m.kind])
		}
	}
	if m.mode&0o6000 != 0 && m.kind != KindSymlink {
		if f.setid == ignore {
			m.mode &^= 0o6000
		} else if f.setid == reject {
			return fmt.Errorf("its mode %04o has a set-id bit, which the filter setid=reject forbids: clear it, or set setid=ignore or setid=keep", m.mode)
		}
	}
	if f.sticky == ignore {
		m.mode &^= 0o1000
	}
	m.uid, m.gid = f.uid.apply(m.uid, os.Getuid), f.gid.apply(m.gid, os.Getgid)
	switch f.mtime.rule {
	case set:
		m.sec, m.nsec = f.mtime.sec, f.mtime.nsec
	case now:
		t := time.Now()
		m.sec, m.nsec = t.Unix(), uint32(t.Nanosecond())
	}
	return nil
}

func (f idFilter) apply(id uint32, own func() int) uint32 {
	switch f.rule {
	case set:
		return f.id
	case mine:
		return uint32(own())
	}
	return id
}
