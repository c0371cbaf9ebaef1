package packtest

import (
	"archive/tar"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An Entry describes one entry of a fileset or an archive, in the words of tar.
type Entry struct {
	tar.Header
	Content string
}

// Then is the mtime of entries made here, which no filter gives.
var Then = time.Unix(1_000_000_000, 123_456_789)

// File describes a file of mode 0644.
func File(path, content string) Entry {
	return Entry{tar.Header{Name: path, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), ModTime: Then}, content}
}

// Dir describes a directory of mode 0755.
func Dir(path string) Entry {
	return Entry{Header: tar.Header{Name: path, Typeflag: tar.TypeDir, Mode: 0o755, ModTime: Then}}
}

// Symlink describes a symlink, Hardlink another name of a file.
func Symlink(path, target string) Entry {
	return Entry{Header: tar.Header{Name: path, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777, ModTime: Then}}
}

func Hardlink(path, target string) Entry {
	return Entry{Header: tar.Header{Name: path, Typeflag: tar.TypeLink, Linkname: target, ModTime: Then}}
}

// mode returns e with another mode.
func (e Entry) mode(m int64) Entry {
	e.Mode = m
	return e
}

func (e Entry) owner(uid, gid int) Entry {
	e.Uid, e.Gid = uid, gid
	return e
}

// sample is a fileset with one of each kind of entry that any packtype keeps.
func sample() []Entry {
	return []Entry{
		Dir("a"), Dir("a/b").mode(0o700), File("a/b/c", "deep"), Symlink("a/link", "../a-b"),
		File("a-b", "dash").mode(0o600), File("a.b", strings.Repeat("block of 24 bytes\t012345\n", 20_000)),
		File("run", "#!/bin/sh\n").mode(0o755), File("zero", ""), Dir("empty"),
		Symlink("dangling", "/no/such"), Dir("sticky").mode(0o1777), File("sticky/x", "x"),
	}
}

// write makes a fileset at root, which it creates, its entries in the order given.
// Owners are left as they are where this process may not change them.
func write(t testing.TB, root string, entries ...Entry) string {
	t.Helper()
	must(t, os.Mkdir(root, 0o755))
	for _, e := range entries {
		p := filepath.Join(root, e.Name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		switch e.Typeflag {
		case tar.TypeReg:
			must(t, os.WriteFile(p, []byte(e.Content), 0o600))
			if e.Size > int64(len(e.Content)) {
				must(t, os.Truncate(p, e.Size))
			}
		case tar.TypeDir:
			must(t, os.MkdirAll(p, 0o755))
		case tar.TypeSymlink:
			must(t, os.Symlink(e.Linkname, p))
		case tar.TypeLink:
			must(t, os.Link(filepath.Join(root, e.Linkname), p))
		case tar.TypeFifo:
			must(t, unix.Mkfifo(p, 0o600))
		case tar.TypeChar:
			if err := unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(uint32(e.Devmajor), uint32(e.Devminor)))); err != nil {
				t.Skip("devices need root: ", err)
			}
		default:
			t.Fatalf("entry of type %q", e.Typeflag)
		}
	}
	// From the last to the first, so that directories come after what is in them.
	for i := len(entries) - 1; i >= 0; i-- {
		e := entries[i]
		p := filepath.Join(root, e.Name)
		if e.Typeflag == tar.TypeLink {
			continue
		}
		_ = os.Lchown(p, e.Uid, e.Gid)
		if e.Typeflag != tar.TypeSymlink {
			must(t, unix.Chmod(p, uint32(e.Mode)))
		}
		setMtime(t, p, e.ModTime)
	}
	must(t, os.Chmod(root, 0o755))
	setMtime(t, root, Then)
	return root
}

func setMtime(t testing.TB, path string, at time.Time) {
	t.Helper()
	ts := unix.NsecToTimespec(at.UnixNano())
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

// touch gives all below root, and root, one mtime.
func touch(t testing.TB, root string, at time.Time) {
	t.Helper()
	var dirs []string
	must(t, filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, p)
			return nil
		}
		setMtime(t, p, at)
		return err
	}))
	for _, p := range dirs {
		setMtime(t, p, at)
	}
}
