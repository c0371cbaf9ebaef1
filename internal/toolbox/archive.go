package toolbox

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// gzipApplet is gzip, gunzip and zcat. What it writes has no name and no time,
// so that equal input makes equal output.
func gzipApplet(p *proc, args []string) error {
	opts, files, err := p.options(args, "cdfknqtv123456789", "stdout=c to-stdout=c decompress=d uncompress=d force=f keep=k no-name=n quiet=q test=t verbose=v fast=1 best=9")
	if err != nil {
		return err
	}
	level := gzip.DefaultCompression
	if l := opts.last("123456789"); l != 0 {
		level = int(l - '0')
	}
	expand := opts.last("dt") != 0 || p.name != "gzip"
	toStdout := opts.last("ct") != 0 || p.name == "zcat" || len(files) == 0
	out := io.Writer(p.out)
	if opts.has('t') {
		out = io.Discard
	}
	work := func(w io.Writer, r io.Reader) error {
		if expand {
			zr, err := gzip.NewReader(r)
			if err != nil {
				return err
			}
			_, err = io.Copy(w, zr)
			return err
		}
		zw, err := gzip.NewWriterLevel(w, level)
		if err != nil {
			return err
		}
		_, err = io.Copy(zw, r)
		return errors.Join(err, zw.Close())
	}
	if toStdout {
		return p.each(files, func(name string, r io.Reader) error {
			return about(name, work(out, r))
		})
	}
	for _, name := range files {
		if err := p.gzipFile(name, expand, opts, work); err != nil {
			p.warn(about(name, err))
		}
	}
	return nil
}

func (p *proc) gzipFile(name string, expand bool, opts options, work func(io.Writer, io.Reader) error) error {
	to := name + ".gz"
	if expand {
		var ok bool
		if to, ok = strings.CutSuffix(name, ".gz"); !ok {
			if to, ok = strings.CutSuffix(name, ".tgz"); !ok {
				return errors.New("unknown suffix")
			}
			to += ".tar"
		}
	}
	in, err := os.Open(p.path(name))
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if opts.has('f') {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	out, err := os.OpenFile(p.path(to), flags, fi.Mode().Perm())
	if err != nil {
		return err
	}
	if err := errors.Join(work(out, in), out.Close()); err != nil {
		os.Remove(p.path(to))
		return err
	}
	if err := setTimes(p.path(to), fi.ModTime(), fi.ModTime(), true); err != nil {
		return err
	}
	if opts.has('k') {
		return nil
	}
	return os.Remove(p.path(name))
}

// A tarrer is one call of tar.
type tarrer struct {
	p       *proc
	opts    options
	dir     string // what -C names
	exclude []string
	strip   int
	mtime   *time.Time
	uid     int // -1: as it is
	gid     int
	links   map[[2]uint64]string
}

// tarApplet is tar: c, x or t with f z C v p O k m and the long options that make
// archives reproducible. Entries of a directory are always sorted by name.
func tarApplet(p *proc, args []string) error {
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		args = oldTarArgs(args)
	}
	opts, names, err := p.options(args, "cxtf:zC:vpOkmhT:X:o!:@:#:$:%:&:*:=,?_", "create=c extract=x get=x list=t file=f gzip=z directory=C verbose=v "+
		"to-stdout=O keep-old-files=k touch=m dereference=h files-from=T exclude-from=X no-same-owner=o same-permissions=p preserve-permissions=p strip-components=! exclude=@ "+
		"sort=# mtime=$ owner=% group=& format=* numeric-owner== no-same-permissions=, same-owner=? mode=_")
	if err != nil {
		return err
	}
	t := &tarrer{p: p, opts: opts, dir: p.dir, exclude: opts.all('@'), uid: -1, gid: -1, links: map[[2]uint64]string{}}
	if err := t.settings(); err != nil {
		return err
	}
	var modes []byte
	for _, o := range opts {
		if strings.IndexByte("cxt", o.flag) >= 0 && !slices.Contains(modes, o.flag) {
			modes = append(modes, o.flag)
		}
	}
	if len(modes) != 1 {
		return errors.New("want exactly one of -c, -x and -t")
	}
	if modes[0] == 'c' {
		return t.create(names)
	}
	return t.read(names, modes[0] == 'x')
}

// oldTarArgs turns the form without a dash, "xzf FILE", into flags.
func oldTarArgs(args []string) []string {
	out, rest := []string{}, args[1:]
	for _, c := range args[0] {
		out = append(out, "-"+string(c))
		if strings.ContainsRune("fCTX", c) && len(rest) > 0 {
			out, rest = append(out, rest[0]), rest[1:]
		}
	}
	return append(out, rest...)
}

func (t *tarrer) settings() error {
	v := t.opts.value
	if dir := v('C', ""); dir != "" {
		if t.dir = t.p.path(dir); len(t.opts.all('C')) > 1 {
			return errors.New("more than one -C is not supported")
		}
	}
	if s := v('#', "name"); s != "name" && s != "none" {
		return fmt.Errorf("--sort=%s is not supported", s)
	}
	if f := v('*', "pax"); !slices.Contains([]string{"pax", "posix", "gnu", "ustar"}, f) {
		return fmt.Errorf("--format=%s is not supported", f)
	}
	var err error
	if t.strip, err = strconv.Atoi(v('!', "0")); err != nil {
		return err
	}
	if m := v('$', ""); m != "" {
		when, err := t.p.parseDate(m)
		if err != nil {
			return err
		}
		t.mtime = &when
	}
	for flag, id := range map[byte]*int{'%': &t.uid, '&': &t.gid} {
		if text := v(flag, ""); text != "" {
			if _, number, ok := strings.Cut(text, ":"); ok {
				text = number
			}
			if text == "root" {
				text = "0"
			}
			if *id, err = strconv.Atoi(text); err != nil {
				return fmt.Errorf("owner or group %q: want a number", text)
			}
		}
	}
	if name := v('X', ""); name != "" {
		patterns, err := t.p.fileLines(name)
		if err != nil {
			return err
		}
		t.exclude = append(t.exclude, patterns...)
	}
	if t.opts.last("_h") != 0 {
		return errors.New("--mode and -h are not supported")
	}
	return nil
}

func (p *proc) fileLines(name string) ([]string, error) {
	f, err := p.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []string
	err = lines(f, '\n', func(line []byte, _ bool) error {
		list = append(list, string(line))
		return nil
	})
	return list, err
}

func (t *tarrer) create(names []string) error {
	if list := t.opts.value('T', ""); list != "" {
		more, err := t.p.fileLines(list)
		if err != nil {
			return err
		}
		names = append(names, more...)
	}
	if len(names) == 0 {
		return errors.New("refusing to create an empty archive")
	}
	out := io.Writer(t.p.out)
	if file := t.opts.value('f', "-"); file != "-" {
		f, err := os.Create(t.p.path(file))
		if err != nil {
			return about(file, err)
		}
		defer f.Close()
		buffered := bufio.NewWriterSize(f, 64<<10)
		defer buffered.Flush()
		out = buffered
	}
	zip := t.opts.has('z')
	var zw *gzip.Writer
	if zip {
		zw = gzip.NewWriter(out)
		out = zw
	}
	tw := tar.NewWriter(out)
	for _, name := range names {
		if err := t.add(tw, name, t.opts.has('T') && t.opts.has('h')); err != nil {
			return err
		}
	}
	err := tw.Close()
	if zip {
		err = errors.Join(err, zw.Close())
	}
	return err
}

func (t *tarrer) excluded(name string) bool {
	for _, pattern := range t.exclude {
		pattern = strings.TrimSuffix(pattern, "/")
		for rest := name; rest != ""; {
			if ok, _ := filepath.Match(pattern, rest); ok {
				return true
			}
			_, after, found := strings.Cut(rest, "/")
			if !found {
				break
			}
			rest = after
		}
	}
	return false
}

func (t *tarrer) add(tw *tar.Writer, name string, flat bool) error {
	if t.excluded(strings.TrimPrefix(name, "./")) {
		return nil
	}
	full := name
	if !filepath.IsAbs(name) {
		full = t.dir + "/" + name
	}
	fi, err := os.Lstat(full)
	if err != nil {
		t.p.warn(about(name, err))
		return nil
	}
	h, err := t.header(full, name, fi)
	if err != nil {
		return err
	}
	if t.opts.has('v') {
		fmt.Fprintln(t.p.stderr, h.Name)
	}
	if err := tw.WriteHeader(h); err != nil {
		return about(name, err)
	}
	if h.Typeflag == tar.TypeReg {
		f, err := os.Open(full)
		if err != nil {
			return about(name, err)
		}
		_, err = io.Copy(tw, f)
		f.Close()
		if err != nil {
			return about(name, err)
		}
	}
	if !fi.IsDir() || flat {
		return nil
	}
	entries, err := os.ReadDir(full)
	if err != nil {
		return about(name, err)
	}
	for _, e := range entries {
		if err := t.add(tw, strings.TrimSuffix(name, "/")+"/"+e.Name(), false); err != nil {
			return err
		}
	}
	return nil
}

func (t *tarrer) header(full, name string, fi os.FileInfo) (*tar.Header, error) {
	target := ""
	if fi.Mode()&fs.ModeSymlink != 0 {
		var err error
		if target, err = os.Readlink(full); err != nil {
			return nil, about(name, err)
		}
	}
	h, err := tar.FileInfoHeader(fi, target)
	if err != nil {
		return nil, about(name, err)
	}
	h.Name = strings.TrimLeft(name, "/")
	if fi.IsDir() {
		h.Name = strings.TrimSuffix(h.Name, "/") + "/"
	}
	st := fi.Sys().(*syscall.Stat_t)
	if key := [2]uint64{st.Dev, st.Ino}; st.Nlink > 1 && !fi.IsDir() {
		if first, ok := t.links[key]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		}
		t.links[key] = cmpOr(t.links[key], h.Name)
	}
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	h.ModTime = fi.ModTime().Truncate(time.Second)
	if t.mtime != nil {
		h.ModTime = *t.mtime
	}
	h.Uname, h.Gname = lookupName("/etc/passwd", st.Uid), lookupName("/etc/group", st.Gid)
	if t.uid >= 0 {
		h.Uid = t.uid
	}
	if t.gid >= 0 {
		h.Gid = t.gid
	}
	if t.opts.has('=') || t.uid >= 0 || isInt(h.Uname) {
		h.Uname = ""
	}
	if t.opts.has('=') || t.gid >= 0 || isInt(h.Gname) {
		h.Gname = ""
	}
	switch t.opts.value('*', "") {
	case "gnu":
		h.Format = tar.FormatGNU
	case "ustar":
		h.Format = tar.FormatUSTAR
	case "pax", "posix":
		h.Format = tar.FormatPAX
	}
	return h, nil
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// read lists or extracts. An entry that would land outside is an error.
func (t *tarrer) read(names []string, extract bool) error {
	in := t.p.stdin
	if file := t.opts.value('f', "-"); file != "-" {
		f, err := t.p.open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	br := bufio.NewReaderSize(in, 64<<10)
	var r io.Reader = br
	if magic, _ := br.Peek(2); t.opts.has('z') || string(magic) == "\x1f\x8b" {
		zr, err := gzip.NewReader(br)
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		r = zr
	}
	root, err := os.OpenRoot(t.dir)
	if err != nil {
		return about(t.dir, err)
	}
	defer root.Close()
	var dirs []*tar.Header // their times are set last
	wanted := map[string]bool{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if !t.selected(h.Name, names, wanted) || t.excluded(strings.TrimPrefix(h.Name, "./")) {
			continue
		}
		if !extract {
			t.list(h)
			continue
		}
		if t.opts.has('v') {
			fmt.Fprintln(t.p.stderr, h.Name)
		}
		if h.Name = t.stripped(h.Name); h.Name == "" {
			continue
		}
		if h.Typeflag == tar.TypeLink {
			h.Linkname = t.stripped(h.Linkname)
		}
		if t.opts.has('O') {
			_, err = io.Copy(t.p.out, tr)
		} else {
			err = t.extract(root, h, tr)
		}
		if err != nil {
			return about(h.Name, err)
		}
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, h)
		}
	}
	for _, name := range names {
		if !wanted[name] {
			t.p.warn(fmt.Errorf("%s: not found in archive", name))
		}
	}
	if extract && !t.opts.has('O') {
		for _, h := range slices.Backward(dirs) {
			if err := t.finish(root, h); err != nil {
				return about(h.Name, err)
			}
		}
	}
	return nil
}

func (t *tarrer) selected(name string, names []string, wanted map[string]bool) bool {
	for _, want := range names {
		w := strings.TrimSuffix(want, "/")
		if name == w || strings.HasPrefix(name, w+"/") {
			wanted[want] = true
			return true
		}
	}
	return len(names) == 0
}

func (t *tarrer) stripped(name string) string {
	name = strings.TrimLeft(path.Clean(name), "/")
	for range t.strip {
		_, rest, ok := strings.Cut(name, "/")
		if !ok {
			return ""
		}
		name = rest
	}
	return name
}

func (t *tarrer) list(h *tar.Header) {
	if !t.opts.has('v') {
		fmt.Fprintln(t.p.out, h.Name)
		return
	}
	owner := cmpOr(h.Uname, strconv.Itoa(h.Uid)) + "/" + cmpOr(h.Gname, strconv.Itoa(h.Gid))
	fmt.Fprintf(t.p.out, "%s %s %d %s %s", tarMode(h), owner, h.Size, h.ModTime.Format("2006-01-02 15:04"), h.Name)
	switch h.Typeflag {
	case tar.TypeSymlink:
		fmt.Fprintf(t.p.out, " -> %s", h.Linkname)
	case tar.TypeLink:
		fmt.Fprintf(t.p.out, " link to %s", h.Linkname)
	}
	t.p.out.WriteByte('\n')
}

func tarMode(h *tar.Header) string {
	s := modeString(uint32(h.Mode) & 0o7777)
	kinds := map[byte]string{tar.TypeDir: "d", tar.TypeSymlink: "l", tar.TypeLink: "h", tar.TypeFifo: "p", tar.TypeChar: "c", tar.TypeBlock: "b"}
	if k := kinds[h.Typeflag]; k != "" {
		return k + s[1:]
	}
	return s
}

// extract writes one entry below root, which no name or symlink leads out of.
func (t *tarrer) extract(root *os.Root, h *tar.Header, r io.Reader) error {
	name := h.Name
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir {
		if err := root.Mkdir(name, 0o700); err != nil && !(errors.Is(err, fs.ErrExist) && name != "") {
			return err
		}
		return nil
	}
	if _, err := root.Lstat(name); err == nil {
		if t.opts.has('k') {
			return nil
		}
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := root.Symlink(h.Linkname, name); err != nil {
			return err
		}
	case tar.TypeLink:
		return root.Link(strings.TrimLeft(h.Linkname, "/"), name)
	case tar.TypeFifo:
		dir, err := root.Open(path.Dir(name))
		if err != nil {
			return err
		}
		defer dir.Close()
		if err := unix.Mkfifoat(int(dir.Fd()), path.Base(name), uint32(h.Mode)&0o777); err != nil {
			return err
		}
	default:
		return fmt.Errorf("entry of type %q is not supported", h.Typeflag)
	}
	return t.finish(root, h)
}

// finish sets owner (as root), mode and time of an extracted entry.
func (t *tarrer) finish(root *os.Root, h *tar.Header) error {
	owner := os.Geteuid() == 0 && !t.opts.has('o')
	if owner {
		if err := root.Lchown(h.Name, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	if h.Typeflag != tar.TypeSymlink {
		mode := fs.FileMode(h.Mode).Perm()
		if os.Geteuid() != 0 && !t.opts.has('p') || t.opts.has(',') {
			mask := syscall.Umask(0)
			syscall.Umask(mask)
			mode &^= fs.FileMode(mask)
		} else {
			for bit, m := range map[int64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
				if h.Mode&bit != 0 {
					mode |= m
				}
			}
		}
		if err := root.Chmod(h.Name, mode); err != nil {
			return err
		}
	}
	if t.opts.has('m') {
		return nil
	}
	if h.Typeflag == tar.TypeSymlink {
		return setTimes(filepath.Join(t.dir, h.Name), h.ModTime, h.ModTime, false)
	}
	return root.Chtimes(h.Name, h.ModTime, h.ModTime)
}
