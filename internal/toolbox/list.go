package toolbox

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listed is one file that ls shows.
type listed struct {
	name string
	path string
	fi   os.FileInfo
}

func (l listed) stat() *syscall.Stat_t { return l.fi.Sys().(*syscall.Stat_t) }

func ls(p *proc, args []string) error {
	opts, names, err := p.options(args, "aA1lnrtShRdFpsicUXvLCgo2:3:", "all=a almost-all=A reverse=r human-readable=h recursive=R directory=d "+
		"classify=F size=s inode=i color=2 time-style=3 numeric-uid-gid=n")
	if err != nil {
		return err
	}
	if style := opts.value('3', "full-iso"); style != "full-iso" && style != "long-iso" {
		return fmt.Errorf("time style %q is not supported", style)
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	var files, dirs []listed
	for _, name := range names {
		l, err := p.listed(name, p.path(name), opts.last("L") != 0 || opts.last("dlF") == 0)
		if err != nil {
			p.warn(about(name, err))
			continue
		}
		if l.fi.IsDir() && !opts.has('d') {
			dirs = append(dirs, l)
		} else {
			files = append(files, l)
		}
	}
	lister{p, opts}.show(files, false)
	for i, dir := range dirs {
		if len(names) > 1 || opts.has('R') {
			if i > 0 || len(files) > 0 {
				p.out.WriteByte('\n')
			}
			fmt.Fprintf(p.out, "%s:\n", dir.name)
		}
		lister{p, opts}.dir(dir)
	}
	return nil
}

func (p *proc) listed(name, path string, follow bool) (listed, error) {
	fi, err := os.Lstat(path)
	if err == nil && follow && fi.Mode()&fs.ModeSymlink != 0 {
		if target, err := os.Stat(path); err == nil {
			fi = target
		}
	}
	return listed{name, path, fi}, err
}

type lister struct {
	p    *proc
	opts options
}

func (l lister) dir(dir listed) {
	entries, err := os.ReadDir(dir.path)
	if err != nil {
		l.p.warn(about(dir.name, err))
		return
	}
	var files []listed
	if l.opts.has('a') {
		for _, name := range []string{".", ".."} {
			if f, err := l.p.listed(name, filepath.Join(dir.path, name), true); err == nil {
				files = append(files, f)
			}
		}
	}
	for _, e := range entries {
		if e.Name()[0] == '.' && l.opts.last("aA") == 0 {
			continue
		}
		if f, err := l.p.listed(e.Name(), filepath.Join(dir.path, e.Name()), l.opts.has('L')); err == nil {
			files = append(files, f)
		}
	}
	l.show(files, true)
	if !l.opts.has('R') {
		return
	}
	for _, f := range files {
		if f.fi.IsDir() && f.name != "." && f.name != ".." {
			f.name = dir.name + "/" + f.name
			fmt.Fprintf(l.p.out, "\n%s:\n", f.name)
			l.dir(f)
		}
	}
}

func (l lister) show(files []listed, total bool) {
	l.sort(files)
	long := l.opts.last("lngo") != 0
	if (long || l.opts.has('s')) && total {
		blocks := int64(0)
		for _, f := range files {
			blocks += f.stat().Blocks / 2
		}
		fmt.Fprintf(l.p.out, "total %s\n", l.size(blocks*1024, 1024))
	}
	rows := make([][]string, len(files))
	for i, f := range files {
		rows[i] = l.row(f, long)
	}
	widths := columnWidths(rows)
	for _, row := range rows {
		for i, cell := range row {
			switch {
			case i == len(row)-1:
				l.p.out.WriteString(cell + "\n")
			case long && !isNumber(strings.TrimRight(cell, "KMGT")):
				fmt.Fprintf(l.p.out, "%-*s ", widths[i], cell)
			default:
				fmt.Fprintf(l.p.out, "%*s ", widths[i], cell)
			}
		}
	}
}

func columnWidths(rows [][]string) []int {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len(cell))
		}
	}
	return widths
}

func (l lister) sort(files []listed) {
	by := l.opts.last("tSUv")
	slices.SortStableFunc(files, func(a, b listed) int {
		c := 0
		switch by {
		case 'U':
			return 0
		case 't':
			c = b.fi.ModTime().Compare(a.fi.ModTime())
		case 'S':
			c = cmp.Compare(b.fi.Size(), a.fi.Size())
		case 'v':
			c = compareVersions([]byte(a.name), []byte(b.name))
		}
		c = cmp.Or(c, strings.Compare(a.name, b.name))
		if l.opts.has('r') {
			return -c
		}
		return c
	})
}

// size shows n bytes, with -h in units, else in units of block.
func (l lister) size(n, block int64) string {
	if l.opts.has('h') {
		return humanSize(n)
	}
	return strconv.FormatInt((n+block-1)/block, 10)
}

// humanSize shows n with a unit of 1024, rounded up, with one digit after the point below 10.
func humanSize(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	div, unit := int64(1024), 0
	for n/div >= 1024 && unit < 4 {
		div *= 1024
		unit++
	}
	if tenths := (n*10 + div - 1) / div; tenths < 100 {
		return fmt.Sprintf("%d.%d%c", tenths/10, tenths%10, "KMGTP"[unit])
	}
	return fmt.Sprintf("%d%c", (n+div-1)/div, "KMGTP"[unit])
}

func (l lister) row(f listed, long bool) []string {
	var row []string
	st := f.stat()
	if l.opts.has('i') {
		row = append(row, strconv.FormatUint(st.Ino, 10))
	}
	if l.opts.has('s') {
		row = append(row, l.size(st.Blocks*512, 1024))
	}
	name := f.name
	if long {
		user, group := strconv.Itoa(int(st.Uid)), strconv.Itoa(int(st.Gid))
		if !l.opts.has('n') {
			user, group = lookupName("/etc/passwd", st.Uid), lookupName("/etc/group", st.Gid)
		}
		row = append(row, modeString(st.Mode), strconv.FormatUint(uint64(st.Nlink), 10))
		if !l.opts.has('g') {
			row = append(row, user)
		}
		if !l.opts.has('o') {
			row = append(row, group)
		}
		row = append(row, l.size(f.fi.Size(), 1), l.time(f.fi.ModTime()))
		if f.fi.Mode()&fs.ModeSymlink != 0 {
			target, _ := os.Readlink(f.path)
			name += " -> " + target
		}
	}
	return append(row, name+l.mark(f, long))
}

// time shows a time in UTC or $TZ, in full with --time-style=full-iso.
func (l lister) time(t time.Time) string {
	switch {
	case l.opts.value('3', "") == "full-iso":
		return t.Format("2006-01-02 15:04:05.000000000 -0700")
	case l.opts.value('3', "") == "long-iso":
		return t.Format("2006-01-02 15:04")
	case time.Since(t) > 182*24*time.Hour || time.Until(t) > 0:
		return t.Format("Jan _2  2006")
	}
	return t.Format("Jan _2 15:04")
}

func (l lister) mark(f listed, long bool) string {
	m := f.fi.Mode()
	switch {
	case m.IsDir() && l.opts.last("Fp") != 0:
		return "/"
	case !l.opts.has('F'):
		return ""
	case m&fs.ModeSymlink != 0 && !long:
		return "@"
	case m&fs.ModeNamedPipe != 0:
		return "|"
	case m&fs.ModeSocket != 0:
		return "="
	case m.IsRegular() && m&0o111 != 0:
		return "*"
	}
	return ""
}

// modeString shows type and permissions as ls -l does, "drwxr-xr-x".
func modeString(mode uint32) string {
	kinds := map[uint32]byte{unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFIFO: 'p', unix.S_IFSOCK: 's', unix.S_IFCHR: 'c', unix.S_IFBLK: 'b'}
	s := []byte("-rwxrwxrwx")
	if k, ok := kinds[mode&unix.S_IFMT]; ok {
		s[0] = k
	}
	for i := range 9 {
		if mode&(0o400>>i) == 0 {
			s[i+1] = '-'
		}
	}
	for i, bit := range []uint32{0o4000, 0o2000, 0o1000} {
		if mode&bit == 0 {
			continue
		}
		at, c := 3*(i+1), "sst"[i]
		if s[at] == '-' {
			c -= 'a' - 'A'
		}
		s[at] = c
	}
	return string(s)
}

// stat shows files by a format: stat [-L] [-c FORMAT | --printf FORMAT] FILE...
func stat(p *proc, args []string) error {
	opts, names, err := p.options(args, "Lc:1:t", "dereference=L format=c printf=1")
	if err != nil {
		return err
	}
	if opts.has('t') {
		return errors.New("option -t is not supported")
	}
	if len(names) == 0 {
		return errMissingOperand
	}
	format := opts.value('c', "  File: %n\n  Size: %s\tBlocks: %b\tIO Block: %o\t%F\nDevice: %d\tInode: %i\tLinks: %h\nAccess: (%04a/%A)  Uid: (%u/%U)   Gid: (%g/%G)\nModify: %y\nChange: %z") + "\n"
	if opts.has('1') {
		format = unescape(opts.value('1', ""))
	}
	for _, name := range names {
		get := os.Lstat
		if opts.has('L') {
			get = os.Stat
		}
		fi, err := get(p.path(name))
		if err != nil {
			p.warn(about(name, err))
			continue
		}
		text, err := statFormat(format, listed{name, p.path(name), fi})
		if err != nil {
			return err
		}
		p.out.WriteString(text)
	}
	return nil
}

func unescape(s string) string {
	return strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`, `\0`, "\x00").Replace(s)
}

func statFormat(format string, f listed) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		start := i
		for i++; i < len(format) && strings.IndexByte("0123456789-", format[i]) >= 0; i++ {
		}
		if i == len(format) {
			return "", errors.New("format ends in %")
		}
		value, err := statField(format[i], f)
		if err != nil {
			return "", err
		}
		flags := format[start+1 : i]
		if n, ok := strings.CutPrefix(flags, "0"); ok {
			width, _ := strconv.Atoi(n)
			value = strings.Repeat("0", max(0, width-len(value))) + value
		}
		fmt.Fprintf(&b, "%"+strings.TrimLeft(flags, "0")+"s", value)
	}
	return b.String(), nil
}

func statField(c byte, f listed) (string, error) {
	st := f.stat()
	times := map[byte]syscall.Timespec{'x': st.Atim, 'X': st.Atim, 'y': st.Mtim, 'Y': st.Mtim, 'z': st.Ctim, 'Z': st.Ctim}
	switch c {
	case '%':
		return "%", nil
	case 'n':
		return f.name, nil
	case 'N':
		if target, err := os.Readlink(f.path); err == nil {
			return "'" + f.name + "' -> '" + target + "'", nil
		}
		return "'" + f.name + "'", nil
	case 's':
		return strconv.FormatInt(f.fi.Size(), 10), nil
	case 'a':
		return strconv.FormatUint(uint64(st.Mode&0o7777), 8), nil
	case 'A':
		return modeString(st.Mode), nil
	case 'f':
		return strconv.FormatUint(uint64(st.Mode), 16), nil
	case 'F':
		return fileType(f.fi), nil
	case 'u':
		return strconv.Itoa(int(st.Uid)), nil
	case 'U':
		return lookupName("/etc/passwd", st.Uid), nil
	case 'g':
		return strconv.Itoa(int(st.Gid)), nil
	case 'G':
		return lookupName("/etc/group", st.Gid), nil
	case 'h':
		return strconv.FormatUint(uint64(st.Nlink), 10), nil
	case 'i':
		return strconv.FormatUint(st.Ino, 10), nil
	case 'd':
		return strconv.FormatUint(st.Dev, 10), nil
	case 'b':
		return strconv.FormatInt(st.Blocks, 10), nil
	case 'B':
		return "512", nil
	case 'o':
		return strconv.FormatInt(int64(st.Blksize), 10), nil
	case 'X', 'Y', 'Z':
		return strconv.FormatInt(times[c].Sec, 10), nil
	case 'x', 'y', 'z':
		return time.Unix(times[c].Sec, times[c].Nsec).Format("2006-01-02 15:04:05.000000000 -0700"), nil
	}
	return "", fmt.Errorf("unknown format %%%c", c)
}

func fileType(fi os.FileInfo) string {
	m := fi.Mode()
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "fifo"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeCharDevice != 0:
		return "character special file"
	case m&fs.ModeDevice != 0:
		return "block special file"
	case fi.Size() == 0:
		return "regular empty file"
	}
	return "regular file"
}

func du(p *proc, args []string) error {
	opts, names, err := p.options(args, "aschkmbd:x", "all=a summarize=s total=c human-readable=h bytes=b max-depth=d apparent-size=1 one-file-system=x")
	if err != nil {
		return err
	}
	depth := 1 << 30
	if opts.has('s') {
		depth = 0
	} else if d := opts.value('d', ""); d != "" {
		if depth, err = strconv.Atoi(d); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	show := func(n int64, name string) {
		unit := map[byte]int64{'b': 1, 'm': 1 << 20}[opts.last("kmb")]
		text := strconv.FormatInt((n+max(unit, 1024)-1)/max(unit, 1024), 10)
		if unit == 1 {
			text = strconv.FormatInt(n, 10)
		}
		if opts.has('h') {
			text = humanSize(n)
		}
		fmt.Fprintf(p.out, "%s\t%s\n", text, name)
	}
	seen := map[[2]uint64]bool{}
	var visit func(name string, level int) int64
	visit = func(name string, level int) int64 {
		fi, err := os.Lstat(p.path(name))
		if err != nil {
			p.warn(about(name, err))
			return 0
		}
		st := fi.Sys().(*syscall.Stat_t)
		if key := [2]uint64{st.Dev, st.Ino}; st.Nlink > 1 && !fi.IsDir() {
			if seen[key] {
				return 0
			}
			seen[key] = true
		}
		n := st.Blocks * 512
		if opts.last("b1") != 0 {
			n = fi.Size()
		}
		if fi.IsDir() {
			entries, err := os.ReadDir(p.path(name))
			if err != nil {
				p.warn(about(name, err))
			}
			for _, e := range entries {
				n += visit(strings.TrimSuffix(name, "/")+"/"+e.Name(), level+1)
			}
		}
		if level <= depth && (fi.IsDir() || opts.has('a') || level == 0) {
			show(n, name)
		}
		return n
	}
	total := int64(0)
	for _, name := range names {
		total += visit(name, 0)
	}
	if opts.has('c') {
		show(total, "total")
	}
	return nil
}
