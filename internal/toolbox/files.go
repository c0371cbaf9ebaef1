package toolbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func mkdir(p *proc, args []string) error {
	opts, dirs, err := p.options(args, "pm:v", "parents=p mode=m verbose=v")
	if err != nil {
		return err
	}
	if len(dirs) == 0 {
		return errMissingOperand
	}
	for _, dir := range dirs {
		if opts.has('p') {
			err = os.MkdirAll(p.path(dir), 0o777)
		} else {
			err = os.Mkdir(p.path(dir), 0o777)
		}
		if mode := opts.value('m', ""); err == nil && mode != "" {
			err = chmodPath(p.path(dir), mode)
		}
		if err != nil {
			p.warn(about(dir, err))
		} else if opts.has('v') {
			fmt.Fprintf(p.out, "created directory %s\n", dir)
		}
	}
	return nil
}

func rmdir(p *proc, args []string) error {
	opts, dirs, err := p.options(args, "p", "parents=p")
	if err != nil {
		return err
	}
	if len(dirs) == 0 {
		return errMissingOperand
	}
	for _, dir := range dirs {
		for {
			if err := syscall.Rmdir(p.path(dir)); err != nil {
				p.warn(about(dir, err))
				break
			}
			up := filepath.Dir(dir)
			if !opts.has('p') || up == "." || up == "/" {
				break
			}
			dir = up
		}
	}
	return nil
}

func rm(p *proc, args []string) error {
	opts, names, err := p.options(args, "rRfdiv", "recursive=r force=f dir=d verbose=v")
	if err != nil {
		return err
	}
	if opts.has('i') {
		return errors.New("option -i is not supported: there is nobody to ask")
	}
	if len(names) == 0 && !opts.has('f') {
		return errMissingOperand
	}
	for _, name := range names {
		if base := filepath.Base(name); base == "." || base == ".." || filepath.Clean(p.path(name)) == "/" {
			p.warn(fmt.Errorf("%s: refusing to remove this directory", name))
			continue
		}
		if err := p.remove(name, opts.last("rR") != 0, opts.has('d')); err != nil {
			if !opts.has('f') || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				p.warn(err)
			}
		} else if opts.has('v') {
			fmt.Fprintf(p.out, "removed %s\n", name)
		}
	}
	return nil
}

func (p *proc) remove(name string, recursive, dirs bool) error {
	path := p.path(name)
	fi, err := os.Lstat(path)
	switch {
	case err != nil:
		return about(name, err)
	case !fi.IsDir():
		return about(name, syscall.Unlink(path))
	case recursive:
		return about(name, os.RemoveAll(path))
	case dirs:
		return about(name, syscall.Rmdir(path))
	}
	return fmt.Errorf("%s: is a directory", name)
}

// copier is what cp, mv and install share.
type copier struct {
	p                  *proc
	recursive          bool
	follow             bool // symlinks below the operands
	followArgs         bool
	mode, owner, times bool // to keep
	force, noClobber   bool
	update, verbose    bool
	hard, sym          bool                 // link instead
	links              map[[2]uint64]string // by device and inode: hard links that are kept
}

func cp(p *proc, args []string) error {
	opts, names, err := p.options(args, "aprRdPLHfnuvlsTt:1:2:x", "archive=a recursive=r preserve=1 no-preserve=2 no-dereference=P dereference=L "+
		"force=f no-clobber=n update=u verbose=v link=l symbolic-link=s no-target-directory=T target-directory=t one-file-system=x")
	if err != nil {
		return err
	}
	if opts.last("12") != 0 || opts.has('x') {
		for _, list := range opts.all('1') {
			if strings.Trim(list, "abcdefghijklmnopqrstuvwxyz,") != "" {
				return fmt.Errorf("bad list %q", list)
			}
		}
		if opts.has('x') || opts.has('2') {
			return errors.New("options -x and --no-preserve are not supported")
		}
	}
	c := &copier{
		p: p, recursive: opts.last("arR") != 0, force: opts.has('f'), noClobber: opts.has('n'), update: opts.has('u'),
		verbose: opts.has('v'), hard: opts.has('l'), sym: opts.has('s'), links: map[[2]uint64]string{},
	}
	keep := strings.Join(opts.all('1'), ",")
	all := opts.has('a') || strings.Contains(keep, "all")
	c.mode = all || opts.has('p') || strings.Contains(keep, "mode")
	c.times = all || opts.has('p') || strings.Contains(keep, "timestamps")
	c.owner = all || opts.has('p') || strings.Contains(keep, "ownership")
	if !all && opts.last("d") == 0 && !strings.Contains(keep, "links") {
		c.links = nil
	}
	link := opts.last("LPHad")
	c.follow = link == 'L' || !c.recursive && link != 'P' && link != 'd'
	c.followArgs = c.follow || link == 'H'
	return c.all(names, opts)
}

// all copies the operands to the last one, or to -t.
func (c *copier) all(names []string, opts options) error {
	return c.p.toTarget(names, opts, func(from, to string) error { return c.copy(from, to, c.followArgs) })
}

// toTarget calls fn for each source with the place it goes to.
func (p *proc) toTarget(names []string, opts options, fn func(from, to string) error) error {
	target, given := opts.value('t', ""), opts.has('t')
	if !given {
		if len(names) < 2 {
			return errMissingOperand
		}
		target, names = names[len(names)-1], names[:len(names)-1]
	}
	fi, err := os.Stat(p.path(target))
	into := given || err == nil && fi.IsDir() && !opts.has('T')
	if len(names) > 1 && !into || given && (err != nil || !fi.IsDir()) || len(names) == 1 && strings.HasSuffix(target, "/") && !into {
		return fmt.Errorf("%s: not a directory", target)
	}
	for _, from := range names {
		to := target
		if into {
			to = strings.TrimSuffix(target, "/") + "/" + filepath.Base(from)
		}
		if err := fn(from, to); err != nil {
			p.warn(err)
		}
	}
	return nil
}

func (c *copier) copy(from, to string, follow bool) error {
	src, dst := c.p.path(from), c.p.path(to)
	stat := os.Lstat
	if follow {
		stat = os.Stat
	}
	fi, err := stat(src)
	if err != nil {
		return about(from, err)
	}
	old, err := os.Lstat(dst)
	exists := err == nil
	switch {
	case exists && os.SameFile(fi, old) && !fi.IsDir():
		return fmt.Errorf("%s and %s are the same file", from, to)
	case exists && c.noClobber && !fi.IsDir():
		return nil
	case exists && c.update && !fi.IsDir() && !fi.ModTime().After(old.ModTime()):
		return nil
	case exists && old.IsDir() && !fi.IsDir():
		return fmt.Errorf("%s: is a directory", to)
	}
	if c.verbose {
		fmt.Fprintf(c.p.out, "%s -> %s\n", from, to)
	}
	switch {
	case fi.IsDir():
		return c.dir(from, to, fi, exists)
	case c.hard || c.sym:
		return c.link(from, to, exists)
	}
	st := fi.Sys().(*syscall.Stat_t)
	if c.links != nil && st.Nlink > 1 {
		key := [2]uint64{st.Dev, st.Ino}
		if first, ok := c.links[key]; ok {
			os.Remove(dst)
			return about(to, os.Link(first, dst))
		}
		c.links[key] = dst
	}
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(src)
		if err == nil {
			os.Remove(dst)
			err = os.Symlink(target, dst)
		}
		if err != nil {
			return about(to, err)
		}
	case fi.Mode().IsRegular() || !c.recursive:
		if err := c.file(from, to, fi, exists); err != nil {
			return err
		}
	case fi.Mode()&fs.ModeNamedPipe != 0:
		os.Remove(dst)
		if err := unix.Mkfifo(dst, uint32(fi.Mode().Perm())); err != nil {
			return about(to, err)
		}
	default:
		return fmt.Errorf("%s: cannot copy a device or socket", from)
	}
	return c.keep(to, fi)
}

func (c *copier) link(from, to string, exists bool) error {
	dst := c.p.path(to)
	if exists && c.force {
		os.Remove(dst)
	}
	if c.hard {
		return about(to, os.Link(c.p.path(from), dst))
	}
	return about(to, os.Symlink(from, dst))
}

func (c *copier) dir(from, to string, fi os.FileInfo, exists bool) error {
	if !c.recursive {
		return fmt.Errorf("%s: is a directory: use -r", from)
	}
	src, dst := c.p.path(from), c.p.path(to)
	if dst == src || strings.HasPrefix(filepath.Clean(dst)+"/", filepath.Clean(src)+"/") {
		return fmt.Errorf("%s: cannot copy a directory into itself", from)
	}
	if !exists {
		if err := os.Mkdir(dst, fi.Mode().Perm()|0o700); err != nil {
			return about(to, err)
		}
	}
	entries, err := os.ReadDir(src)
	if err != nil {
		return about(from, err)
	}
	for _, e := range entries {
		if err := c.copy(from+"/"+e.Name(), to+"/"+e.Name(), c.follow); err != nil {
			c.p.warn(err)
		}
	}
	if !exists && !c.mode {
		mask := syscall.Umask(0)
		syscall.Umask(mask)
		if err := os.Chmod(dst, fi.Mode().Perm()&^fs.FileMode(mask)); err != nil {
			return about(to, err)
		}
	}
	return c.keep(to, fi)
}

func (c *copier) file(from, to string, fi os.FileInfo, exists bool) error {
	in, err := os.Open(c.p.path(from))
	if err != nil {
		return about(from, err)
	}
	defer in.Close()
	dst := c.p.path(to)
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fi.Mode().Perm())
	if err != nil && exists && c.force {
		os.Remove(dst)
		out, err = os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fi.Mode().Perm())
	}
	if err != nil {
		return about(to, err)
	}
	_, err = io.Copy(out, in)
	return about(to, errors.Join(err, out.Close()))
}

// keep sets what is to be kept of the source: owner first, since it clears mode bits.
func (c *copier) keep(to string, fi os.FileInfo) error {
	dst, st := c.p.path(to), fi.Sys().(*syscall.Stat_t)
	if c.owner {
		if err := os.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil && os.Geteuid() == 0 {
			return about(to, err)
		}
	}
	if c.mode && fi.Mode()&fs.ModeSymlink == 0 {
		if err := syscall.Chmod(dst, st.Mode&0o7777); err != nil {
			return about(to, err)
		}
	}
	if c.times {
		return about(to, setTimes(dst, time.Unix(st.Atim.Unix()), fi.ModTime(), false))
	}
	return nil
}

// setTimes sets access and modification time, of a symlink itself unless follow.
func setTimes(path string, atime, mtime time.Time, follow bool) error {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if follow {
		flags = 0
	}
	times := []unix.Timespec{unix.NsecToTimespec(atime.UnixNano()), unix.NsecToTimespec(mtime.UnixNano())}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, times, flags)
}

func mv(p *proc, args []string) error {
	opts, names, err := p.options(args, "fnuvTt:", "force=f no-clobber=n update=u verbose=v no-target-directory=T target-directory=t")
	if err != nil {
		return err
	}
	return p.toTarget(names, opts, func(from, to string) error {
		src, dst := p.path(from), p.path(to)
		fi, err := os.Lstat(src)
		if err != nil {
			return about(from, err)
		}
		if old, err := os.Lstat(dst); err == nil {
			switch {
			case os.SameFile(fi, old):
				return fmt.Errorf("%s and %s are the same file", from, to)
			case opts.has('n'), opts.has('u') && !fi.ModTime().After(old.ModTime()):
				return nil
			}
		}
		if opts.has('v') {
			fmt.Fprintf(p.out, "renamed %s -> %s\n", from, to)
		}
		err = syscall.Rename(src, dst)
		if !errors.Is(err, syscall.EXDEV) {
			return about(from, err)
		}
		c := &copier{p: p, recursive: true, force: true, mode: true, owner: true, times: true, links: map[[2]uint64]string{}}
		if err := c.copy(from, to, false); err != nil || p.status != 0 {
			return err
		}
		return about(from, os.RemoveAll(src))
	})
}

func ln(p *proc, args []string) error {
	opts, names, err := p.options(args, "sfnvTt:rLP", "symbolic=s force=f no-dereference=n verbose=v no-target-directory=T target-directory=t relative=r")
	if err != nil {
		return err
	}
	if len(names) == 1 && !opts.has('t') {
		names = append(names, filepath.Base(names[0]))
	}
	if last := len(names) - 1; opts.has('n') && last > 0 {
		if fi, err := os.Lstat(p.path(names[last])); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
			opts = append(opts, option{flag: 'T'})
		}
	}
	return p.toTarget(names, opts, func(from, to string) error {
		dst := p.path(to)
		if opts.has('f') {
			if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return about(to, err)
			}
		}
		if !opts.has('s') {
			return about(to, os.Link(p.path(from), dst))
		}
		if opts.has('r') {
			rel, err := filepath.Rel(filepath.Dir(dst), p.path(from))
			if err != nil {
				return err
			}
			from = rel
		}
		return about(to, os.Symlink(from, dst))
	})
}

func touch(p *proc, args []string) error {
	opts, names, err := p.options(args, "acmhd:r:t:", "no-create=c date=d reference=r no-dereference=h")
	if err != nil {
		return err
	}
	when := time.Now()
	switch o := opts.last("drt"); o {
	case 'd':
		when, err = p.parseDate(opts.value('d', ""))
	case 't':
		when, err = p.parseStamp(opts.value('t', ""))
	case 'r':
		var fi os.FileInfo
		if fi, err = os.Stat(p.path(opts.value('r', ""))); err == nil {
			when = fi.ModTime()
		}
	}
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errMissingOperand
	}
	for _, name := range names {
		path := p.path(name)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			if opts.has('c') {
				continue
			}
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
			if err != nil {
				p.warn(about(name, err))
				continue
			}
			f.Close()
		}
		atime, mtime := when, when
		if fi, err := os.Stat(path); err == nil && opts.last("am") != 0 {
			if !opts.has('a') {
				atime = time.Unix(fi.Sys().(*syscall.Stat_t).Atim.Unix())
			}
			if !opts.has('m') {
				mtime = fi.ModTime()
			}
		}
		if err := setTimes(path, atime, mtime, !opts.has('h')); err != nil {
			p.warn(about(name, err))
		}
	}
	return nil
}

func mktemp(p *proc, args []string) error {
	opts, names, err := p.options(args, "dqup:t1:", "directory=d quiet=q dry-run=u tmpdir=p suffix=1")
	if err != nil {
		return err
	}
	template := "tmp.XXXXXXXXXX"
	dir := opts.value('p', "")
	if len(names) == 0 || opts.last("tp") != 0 {
		if dir == "" {
			dir = p.getenv("TMPDIR")
		}
		if dir == "" {
			dir = "/tmp"
		}
	}
	if len(names) > 0 {
		template = names[0]
	}
	template += opts.value('1', "")
	end := strings.LastIndexByte(template, 'X') + 1
	start := end
	for start > 0 && template[start-1] == 'X' {
		start--
	}
	if end-start < 3 {
		return fmt.Errorf("%s: too few X in the template", template)
	}
	for range 100 {
		name := template[:start] + randomName(end-start) + template[end:]
		if dir != "" {
			name = filepath.Join(dir, name)
		}
		switch {
		case opts.has('u'):
			_, err = os.Lstat(p.path(name))
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			} else if err == nil {
				err = fs.ErrExist
			}
		case opts.has('d'):
			err = os.Mkdir(p.path(name), 0o700)
		default:
			var f *os.File
			if f, err = os.OpenFile(p.path(name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err == nil {
				f.Close()
			}
		}
		if err == nil {
			fmt.Fprintln(p.out, name)
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if opts.has('q') {
		return exit(1)
	}
	return about(template, err)
}

func install(p *proc, args []string) error {
	opts, names, err := p.options(args, "dDm:o:g:pvcTt:s", "directory=d mode=m owner=o group=g preserve-timestamps=p verbose=v no-target-directory=T target-directory=t")
	if err != nil {
		return err
	}
	if opts.has('s') || opts.last("og") != 0 {
		return errors.New("options -s, -o and -g are not supported")
	}
	mode := opts.value('m', "755")
	if opts.has('d') {
		for _, dir := range names {
			if err := os.MkdirAll(p.path(dir), 0o755); err != nil {
				p.warn(about(dir, err))
			} else if err := chmodPath(p.path(dir), mode); err != nil {
				p.warn(about(dir, err))
			}
		}
		return nil
	}
	if opts.has('D') && len(names) > 0 {
		dir := opts.value('t', "")
		if dir == "" {
			dir = filepath.Dir(names[len(names)-1])
		}
		if err := os.MkdirAll(p.path(dir), 0o755); err != nil {
			return about(dir, err)
		}
	}
	c := &copier{p: p, force: true, times: opts.has('p'), verbose: opts.has('v')}
	return p.toTarget(names, opts, func(from, to string) error {
		os.Remove(p.path(to))
		if err := c.copy(from, to, true); err != nil {
			return err
		}
		return about(to, chmodPath(p.path(to), mode))
	})
}

func truncate(p *proc, args []string) error {
	opts, names, err := p.options(args, "cs:r:", "no-create=c size=s reference=r")
	if err != nil {
		return err
	}
	spec := opts.value('s', "")
	sign := strings.TrimRight(spec, "0123456789kKMGTiB")
	n, err := size(strings.TrimPrefix(spec, sign))
	if ref := opts.value('r', ""); ref != "" {
		var fi os.FileInfo
		if fi, err = os.Stat(p.path(ref)); err == nil {
			n = fi.Size()
		}
	}
	if err != nil || sign != "" && sign != "+" && sign != "-" {
		return errors.Join(fmt.Errorf("bad size %q", spec), err)
	}
	flags := os.O_WRONLY | os.O_CREATE
	if opts.has('c') {
		flags = os.O_WRONLY
	}
	for _, name := range names {
		f, err := os.OpenFile(p.path(name), flags, 0o666)
		if errors.Is(err, fs.ErrNotExist) && opts.has('c') {
			continue
		}
		if err != nil {
			p.warn(about(name, err))
			continue
		}
		want := n
		if fi, err := f.Stat(); err == nil && sign == "+" {
			want = fi.Size() + n
		} else if err == nil && sign == "-" {
			want = max(fi.Size()-n, 0)
		}
		if err := errors.Join(f.Truncate(want), f.Close()); err != nil {
			p.warn(about(name, err))
		}
	}
	return nil
}

func syncApplet(p *proc, args []string) error {
	_, names, err := p.options(args, "d", "data=d")
	if err != nil {
		return err
	}
	if len(names) == 0 {
		unix.Sync()
	}
	for _, name := range names {
		f, err := os.Open(p.path(name))
		if err == nil {
			err = f.Sync()
			f.Close()
		}
		if err != nil {
			p.warn(about(name, err))
		}
	}
	return nil
}

// dd copies with block sizes: if= of= bs= count= skip= seek= conv=notrunc,fsync,sync status=none.
func dd(p *proc, args []string) error {
	v := map[string]string{"bs": "512", "count": "", "skip": "0", "seek": "0", "if": "-", "of": "", "conv": "", "status": "none", "ibs": "", "obs": ""}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if _, known := v[key]; !known || !ok {
			return fmt.Errorf("unknown operand %q", arg)
		}
		v[key] = value
	}
	var n [3]int64
	for i, key := range []string{"bs", "skip", "seek"} {
		var err error
		if n[i], err = size(v[key]); err != nil {
			return err
		}
	}
	bs, count := n[0], int64(-1)
	if v["count"] != "" {
		var err error
		if count, err = size(v["count"]); err != nil {
			return err
		}
	}
	if bs < 1 || v["ibs"]+v["obs"] != "" {
		return errors.New("want bs, at least 1; ibs and obs are not supported")
	}
	in, err := p.open(v["if"])
	if err != nil {
		return err
	}
	defer in.Close()
	out := io.Writer(p.stdout)
	conv := "," + v["conv"] + ","
	for word := range strings.SplitSeq(v["conv"], ",") {
		if word != "" && !strings.Contains(",notrunc,fsync,fdatasync,", ","+word+",") {
			return fmt.Errorf("conv=%s is not supported", word)
		}
	}
	if v["of"] != "" {
		flags := os.O_WRONLY | os.O_CREATE
		f, err := os.OpenFile(p.path(v["of"]), flags, 0o666)
		if err != nil {
			return about(v["of"], err)
		}
		defer f.Close()
		if !strings.Contains(conv, ",notrunc,") {
			if err := f.Truncate(n[2] * bs); err != nil && !errors.Is(err, syscall.EINVAL) {
				return about(v["of"], err)
			}
		}
		if _, err := f.Seek(n[2]*bs, io.SeekStart); n[2] > 0 && err != nil {
			return about(v["of"], err)
		}
		if strings.Contains(conv, "sync,") {
			defer f.Sync()
		}
		out = f
	}
	if _, err := io.CopyN(io.Discard, in, n[1]*bs); err != nil {
		return eofIsFine(err)
	}
	src := io.Reader(in)
	if count >= 0 {
		src = io.LimitReader(in, count*bs)
	}
	copied, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{src}, make([]byte, min(bs, 1<<20)))
	if v["status"] != "none" {
		fmt.Fprintf(p.stderr, "%d bytes copied\n", copied)
	}
	return err
}

func isInt(s string) bool { _, err := strconv.Atoi(s); return err == nil }
