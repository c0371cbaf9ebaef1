package pack

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// Scan hashes the directory or file at path and writes nothing. If path is a
// symlink, what it leads to is hashed; symlinks below are not followed.
func Scan(ctx context.Context, path string, o Options) (Result, error) {
	w, err := newWalk(ctx, o, scanner{})
	var r Result
	if err == nil {
		r, err = w.scan(path)
	}
	if err != nil {
		return Result{}, fmt.Errorf("scan %s: %w", path, err)
	}
	return r, nil
}

// scan walks what is at path for its ids.
func (w *walk) scan(path string) (Result, error) {
	w.idOnly = true
	r, root, err := w.host(path, -1)
	if err == nil {
		w.cache.save(root)
	}
	return r, err
}

func newWalk(ctx context.Context, o Options, v visitor) (*walk, error) {
	o, err := o.resolve()
	if err != nil {
		return nil, err
	}
	match, err := newMatcher(o.Include, o.Exclude)
	if err != nil {
		return nil, err
	}
	return &walk{
		ctx: ctx, o: o, v: v, match: match, hash: true,
		cache: o.Cache.begin(&o),
	}, nil
}

// host walks the fileset at a path of the host, through a symlink if there is one.
// dst is the directory a copy goes to, or -1; the walk closes it.
func (w *walk) host(path string, dst int) (Result, *dir, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		unix.Close(dst)
		return Result{}, nil, err
	}
	info, err := os.Lstat(real)
	if err != nil {
		unix.Close(dst)
		return Result{}, nil, err
	}
	if info.Mode().IsRegular() {
		return w.file(filepath.Dir(real), filepath.Base(real), dst)
	}
	return w.directory(real, dst)
}

// directory walks the directory at path.
func (w *walk) directory(path string, dst int) (Result, *dir, error) {
	root := &dir{fd: -1, dst: dst}
	var err error
	if root.fd, err = openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		closeDir(root)
		if err == unix.ENOTDIR {
			err = fmt.Errorf("neither a directory nor a regular file")
		}
		return Result{}, nil, err
	}
	root.maybe = w.match != nil && len(w.match.include) > 0
	if err := w.run(root); err != nil {
		return Result{}, nil, err
	}
	return w.result(root, false), root, nil
}

// file visits the one file name in the directory parent, as a ware that is a file.
func (w *walk) file(parent, name string, dst int) (Result, *dir, error) {
	d := &dir{fd: -1, dst: dst, single: true, nodes: []node{{name: name, meta: meta{kind: KindFile}}}}
	defer closeDir(d)
	var err error
	if d.fd, err = openat(unix.AT_FDCWD, parent, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return Result{}, nil, err
	}
	if err := fstat(d.fd, &d.st); err != nil {
		return Result{}, nil, err
	}
	w.cache.open(d)
	d.known.match(d.nodes)
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	n := &d.nodes[0]
	if err := w.v.visit(w, d, n, s); err != nil {
		return Result{}, nil, entryError(d, "", err)
	}
	w.progress(1, 0)
	w.cache.remember(d, false)
	w.hashFileRoot(d, s)
	if err := w.v.leave(w, d); err != nil {
		return Result{}, nil, err
	}
	d.stamp = stampOf(d.nodes, s)
	return w.result(d, true), d, nil
}

// hashFileRoot hashes d, whose one entry is the file that the ware is.
func (w *walk) hashFileRoot(d *dir, s *scratch) {
	n := &d.nodes[0]
	n.name = "file"
	d.meta = meta{kind: KindDir, mode: 0o755, sec: defaultTime}
	s.msg = fileRootMessage(s.msg[:0], n)
	d.digest = hashMessage(s.msg)
	w.keep(s.msg)
	if w.o.rio() {
		n.name = "." // as rio calls the root, whatever it is
		d.rio = rioFile(n, n.content, s)
		n.name = "file"
	}
}

func (w *walk) result(root *dir, file bool) Result {
	r := Result{Tree: treeID(root.digest), File: file, Entries: w.entries.Load(), Bytes: w.bytes.Load()}
	r.ID = r.Tree
	if w.o.rio() && root.rio != nil {
		r.ID = rioID(w.o.Packtype, root.rio)
	}
	if w.o.Progress != nil {
		w.o.Progress(r.Entries, r.Bytes)
	}
	return r
}

// keep collects a Directory message, behind its length.
func (w *walk) keep(msg []byte) {
	if !w.keepDirs {
		return
	}
	w.dirsMu.Lock()
	defer w.dirsMu.Unlock()
	w.dirs = append(binary.AppendUvarint(w.dirs, uint64(len(msg))), msg...)
}

// record makes the warehouse's record of a fileset.
func (w *walk) record(r Result, root *dir) warehouse.Record {
	return warehouse.Record{
		ID: r.ID, Tree: r.Tree, File: r.File, Entries: r.Entries, Bytes: r.Bytes,
		Stamp: rootStamp(root), Dirs: w.dirs,
	}
}

// A scanner hashes and changes nothing.
type scanner struct{}

func (scanner) enter(*walk, *dir) error { return nil }

func (scanner) visit(w *walk, d *dir, n *node, s *scratch) error {
	var st unix.Stat_t
	if n.meta.kind != KindFile {
		return w.describe(d, n, &st, s)
	}
	if n.known != 0 {
		if known, err := w.recall(d, n, &st, s); known || err != nil {
			return err
		}
	}
	return w.scanFile(d, n, &st, s)
}

// recall takes a file's digest from the cache, if it is known there.
func (w *walk) recall(d *dir, n *node, st *unix.Stat_t, s *scratch) (known bool, err error) {
	if err := lstatat(d.fd, n.name, st); err != nil {
		return false, changed(err)
	}
	e := d.known.entry(n.known - 1)
	if e.kind != KindFile || e.seen() != seenOf(st) || w.o.rio() && !e.hasContent() {
		return false, nil
	}
	if err := w.describeStat(d, n, st, s); err != nil {
		return true, err
	}
	w.recalled(n, &e, s)
	w.cache.met.Add(1)
	w.progress(0, st.Size)
	return true, nil
}

func (w *walk) scanFile(d *dir, n *node, st *unix.Stat_t, s *scratch) error {
	fd, err := openFile(d.fd, n.name, st)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := w.describeStat(d, n, st, s); err != nil {
		return err
	}
	if err := w.hashContent(fd, -1, st.Size, n, s); err != nil {
		return err
	}
	if err := unchanged(fd, st); err != nil {
		return err
	}
	w.cache.hashed(n)
	return nil
}

func (scanner) leave(w *walk, d *dir) error {
	d.seen = seenOf(&d.st)
	return nil
}
