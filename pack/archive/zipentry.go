package archive

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/text/encoding/charmap"

	"github.com/kilnbuild/kiln/pack"
)

// Methods of compression, APPNOTE.TXT, section 4.4.5, that kiln knows beside those of
// archive/zip.
const (
	methodBzip2 = 12
	methodZstd  = 93
)

// methodNames are those kiln can name but not read.
var methodNames = map[uint16]string{
	1: "shrink", 2: "reduce", 3: "reduce", 4: "reduce", 5: "reduce", 6: "implode", 9: "deflate64",
	14: "lzma", 95: "xz", 96: "jpeg", 97: "wavpack", 98: "ppmd", 99: "aes",
}

// Extra fields: Info-ZIP's Unicode path, owners (the second has 16 bits for each).
const (
	extraUnicodePath = 0x7075
	extraOwner       = 0x7875
	extraOwner16     = 0x7855
)

// Upper bytes of "version made by", section 4.4.2.1, that mean Unix permissions.
const (
	madeByUnix  = 3
	madeByMacOS = 19
)

// maxTarget is how long a symlink's target may be: Linux's PATH_MAX, less its end.
const maxTarget = 4095

// zipEntry describes f as rio does, docs/formats.md, section 3.
func zipEntry(f *zip.File) (pack.Entry, error) {
	e := pack.Entry{
		Path: zipName(f), Kind: pack.KindFile, Size: int64(f.UncompressedSize64),
		Sec: f.Modified.Unix(), Nsec: uint32(f.Modified.Nanosecond()),
	}
	e.UID, e.GID = zipOwner(f.Extra)
	isDir := strings.HasSuffix(e.Path, "/")
	made := f.CreatorVersion >> 8
	unixMade := (made == madeByUnix || made == madeByMacOS) && f.ExternalAttrs>>16 != 0
	if mode := f.ExternalAttrs >> 16; unixMade {
		e.Mode = mode & 0o7777
		switch mode & unix.S_IFMT {
		case 0, unix.S_IFREG:
		case unix.S_IFDIR:
			isDir = true
		case unix.S_IFLNK:
			e.Kind = pack.KindSymlink
		default:
			return e, fmt.Errorf("it is of type %#o, which zip archives cannot hold", mode&unix.S_IFMT)
		}
	} else if e.Mode = 0o666; f.ExternalAttrs&0x10 != 0 || isDir {
		isDir, e.Mode = true, 0o777
	}
	if !unixMade && f.ExternalAttrs&1 != 0 {
		e.Mode &^= 0o222 // read-only
	}
	if isDir && e.Kind != pack.KindSymlink {
		e.Kind = pack.KindDir
	}
	switch {
	case f.Flags&flagEncrypted != 0:
		return e, errors.New("it is encrypted: kiln has no password for it, unpack it by other means")
	case e.Size < 0:
		return e, errors.New("its size is out of range")
	case e.Kind == pack.KindDir && e.Size > 0:
		return e, errors.New("it is a directory with content of its own")
	case e.Kind == pack.KindSymlink && (e.Size > maxTarget || e.Size == 0):
		return e, fmt.Errorf("it is a symlink with a target of %d bytes", e.Size)
	}
	return e, knownMethod(f.Method)
}

func knownMethod(m uint16) error {
	switch m {
	case zip.Store, zip.Deflate, methodBzip2, methodZstd:
		return nil
	}
	name := methodNames[m]
	if name == "" {
		name = "unknown"
	}
	return fmt.Errorf("it is packed by method %d (%s), which kiln cannot read: it knows store, deflate, bzip2 and zstd", m, name)
}

// zipName returns the name of an entry. One that is not UTF-8 is in code page 437,
// unless its extra field says what it is, or it was made where names are just bytes.
func zipName(f *zip.File) string {
	name := f.Name
	made := f.CreatorVersion >> 8
	onUnix := made == madeByUnix || made == madeByMacOS
	if !utf8.ValidString(name) {
		path := extraField(f.Extra, extraUnicodePath)
		if len(path) > 5 && path[0] == 1 && binary.LittleEndian.Uint32(path[1:]) == crc32.ChecksumIEEE([]byte(name)) {
			name = string(path[5:])
		} else if !onUnix {
			name, _ = charmap.CodePage437.NewDecoder().String(name) // knows all bytes
		}
	}
	if !onUnix && !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, `\`, "/") // against the standard, and common
	}
	return name
}

// zipOwner returns the owner that the extra fields tell, or rio's.
func zipOwner(extra []byte) (uid, gid uint32) {
	if b := extraField(extra, extraOwner); len(b) >= 2 && b[0] == 1 {
		u, rest, ok := ownerID(b[1:])
		if g, _, ok2 := ownerID(rest); ok && ok2 {
			return u, g
		}
	}
	if b := extraField(extra, extraOwner16); len(b) >= 4 {
		return uint32(binary.LittleEndian.Uint16(b)), uint32(binary.LittleEndian.Uint16(b[2:]))
	}
	return 1000, 1000
}

// ownerID reads a length in one byte and a number of so many bytes.
func ownerID(b []byte) (id uint32, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return 0, nil, false
	}
	n, rest := b[1:1+b[0]], b[1+b[0]:]
	switch len(n) {
	case 2:
		return uint32(binary.LittleEndian.Uint16(n)), rest, true
	case 4:
		return binary.LittleEndian.Uint32(n), rest, true
	}
	return 0, nil, false
}
