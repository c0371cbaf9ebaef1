package pack

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"
)

// A walk with a cache looks at every entry's stat: the mtime of a directory tells nothing
// of what was written into its files, and neither does anything else that the kernel
// offers to who was not there to watch. What a cache can save is all the rest.
//
// The names in a directory are those in the cache if its own stat is as it was: every
// system call that adds, removes or replaces a name moves the ctime, on file systems
// that are known to (directoriesTell); on others it is listed and the names compared.
// If then no entry's stat has moved, and below it there is no directory with another
// digest, its digest is the one in the cache, and it costs no node, no message and no
// hash. The first entry that differs makes nodes of what the cache has.

// unlisted reports whether d is as the cache has it, as far as its own stat tells.
func (w *walk) unlisted(d *dir) bool {
	return w.alike(d) && w.cache.directoriesTell(d)
}

// alike reports whether d may be what the cache knows, if it has the same names.
func (w *walk) alike(d *dir) bool {
	return d.known != nil && w.idOnly && w.cache.same && d.known.seen == seenOf(&d.st) && w.o.Filters.mtime.rule != now
}

// Magic numbers of file systems, statfs(2). In an overlay a directory's stat is that of
// one of the layers which its names are from; what others do over a network, or in
// a process of somebody's own, is theirs to know.
var tellingFileSystems = map[int64]bool{
	unix.EXT4_SUPER_MAGIC:  true, // ext2 and ext3 too
	unix.XFS_SUPER_MAGIC:   true,
	unix.BTRFS_SUPER_MAGIC: true,
	unix.F2FS_SUPER_MAGIC:  true,
	unix.TMPFS_MAGIC:       true,
}

// directoriesTell reports whether d is on a file system where a directory's stat tells
// whether it has the same names.
func (cw *cacheWalk) directoriesTell(d *dir) bool {
	if tells, known := cw.tells.Load(d.st.Dev); known {
		return tells.(bool)
	}
	var fs unix.Statfs_t
	err := retry(func() error { return unix.Fstatfs(d.fd, &fs) })
	tells := err == nil && tellingFileSystems[int64(fs.Type)]
	cw.tells.Store(d.st.Dev, tells)
	return tells
}

// open looks up what the cache knows of d.
func (cw *cacheWalk) open(d *dir) {
	if cw == nil {
		return
	}
	if d.parent == nil {
		d.unread = cw.root
	}
	d.known, d.unread = readKnown(d.unread), nil
}

// glances is up to how many entries it costs less to look them up by way of their
// directory than to open that.
const glances = 8

// glance reports whether d, with a few files and no directories in it, is as it is
// known. It is not opened: what is found at names in it may lie in another directory
// that took its place just now, but there is one file at most with the stat that is
// looked for.
func (w *walk) glance(d *dir, s *scratch) bool {
	k := d.known
	if k == nil || len(k.subs) > 0 || len(k.at) > glances {
		return false
	}
	path := append(append(s.msg[:0], d.name...), 0)
	if lstatName(d.parent.fd, &path[0], &d.st) != nil || !w.alike(d) {
		return false
	}
	if tells, _ := w.cache.tells.Load(d.st.Dev); tells != true {
		return false
	}
	var same tally
	path[len(path)-1] = '/'
	for i, at := 0, len(path); i < len(k.at); i++ {
		e := k.entry(int32(i))
		path = append(append(path[:at], e.name...), 0)
		if !same.add(d.parent.fd, &path[0], &e, s) {
			return false
		}
	}
	s.msg, d.same = path, true
	w.took(&same)
	return true
}

// below makes d.subs and d.visits of what is known of d.
func (d *dir) below() {
	k := d.known
	d.subs, d.visits = make([]dir, len(k.subs)), make([]int32, 0, len(k.at)-len(k.subs))
	next := 0
	for i := range int32(len(k.at)) {
		if next == len(k.subs) || k.subs[next].entry != i {
			d.visits = append(d.visits, i)
			continue
		}
		e, sub := k.entry(i), &d.subs[next]
		sub.name, sub.meta.kind, sub.slot, sub.unread = string(e.name), KindDir, int(i), k.subs[next].all
		next++
	}
}

// sub returns what the cache has of the directory n.
func (k *known) sub(n *node) []byte {
	if k == nil || n.known == 0 {
		return nil
	}
	i, ok := slices.BinarySearchFunc(k.subs, n.known-1, func(s knownSub, entry int32) int { return cmp.Compare(s.entry, entry) })
	if !ok {
		return nil
	}
	return k.subs[i].all
}

// A tally counts entries that are as they are known.
type tally struct{ entries, files, bytes int64 }

// add reports whether the entry e is as it is known, at path from the directory open
// at dirfd; a NUL ends it.
func (t *tally) add(dirfd int, path *byte, e *knownEntry, s *scratch) bool {
	if lstatName(dirfd, path, &s.st) != nil {
		return false
	}
	seen := seenOf(&s.st)
	if seen != e.seen() {
		return false
	}
	t.entries++
	t.bytes += seen.size
	if e.kind == KindFile {
		t.files++
	}
	return true
}

// took reports what was counted.
func (w *walk) took(t *tally) {
	if t.entries > 0 {
		w.cache.met.Add(t.files)
		w.progress(t.entries, t.bytes)
	}
}

// unfold makes nodes of what is known of d.
func (d *dir) unfold() {
	d.holding.Lock()
	defer d.holding.Unlock()
	if d.nodes != nil {
		return
	}
	nodes := make([]node, len(d.known.at))
	for i := range nodes {
		e := d.known.entry(int32(i))
		n := &nodes[i]
		n.name, n.meta.kind, n.known = string(e.name), e.kind, int32(i+1)
	}
	d.nodes = nodes
}

// asKnown reports whether all in d, below it and of it is as it is known.
func (w *walk) asKnown(d *dir) bool {
	if !d.same || d.nodes != nil {
		return false
	}
	for i := range d.subs {
		if sub := &d.subs[i]; sub.known == nil || sub.digest != sub.known.digest || w.o.rio() && *sub.rio != *sub.known.rio {
			return false
		}
	}
	return true
}

// fill completes a node that was not visited, since it is as it is known.
func (w *walk) fill(n *node, e knownEntry, s *scratch) (err error) {
	var link string
	n.origin, link = e.stat()
	if n.meta, err = metaOf(n.origin); err != nil {
		return err
	}
	n.seen, n.digest, n.meta.link = seenOf(n.origin), emptyDigest, link
	if err := w.o.Filters.apply(&n.meta, w.o.rio()); err != nil {
		return err
	}
	if n.meta.kind == KindFile {
		w.recalled(n, &e, s)
	}
	return nil
}

// recalled gives the file n the digests that are known of it.
func (w *walk) recalled(n *node, e *knownEntry, s *scratch) {
	if n.digest, n.content = e.digests(); w.o.rio() {
		n.rio = rioFile(n, n.content, s)
	}
}
