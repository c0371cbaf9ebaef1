package toolbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mvdan.cc/sh/v3/pattern"
)

// A finder is one call of find.
type finder struct {
	p        *proc
	args     []string // of the expression, not read yet
	min, max int
	follow   bool
	depth    bool // -depth or -delete: what is inside first
	acted    bool // the expression has an action
	now      time.Time
	batches  []func() error // of -exec … +
}

// A found is one file that an expression judges.
type found struct {
	name, path string // as shown; absolute
	start      string // the operand it was found below
	fi         os.FileInfo
	depth      int
	prune      *bool
}

type findExpr func(f *found) (bool, error)

var errFindQuit = errors.New("quit")

func find(p *proc, args []string) error {
	f := &finder{p: p, max: 1 << 30, now: time.Now()}
	for len(args) > 0 && (args[0] == "-L" || args[0] == "-P" || args[0] == "-H") {
		f.follow = args[0] == "-L"
		args = args[1:]
	}
	var starts []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") && args[0] != "(" && args[0] != "!" {
		starts, args = append(starts, args[0]), args[1:]
	}
	if starts == nil {
		starts = []string{"."}
	}
	f.args = args
	expr, err := f.either()
	if err != nil {
		return err
	}
	if len(f.args) > 0 {
		return fmt.Errorf("unexpected %q", f.args[0])
	}
	if !f.acted {
		test := expr
		expr = func(x *found) (bool, error) {
			ok, err := test(x)
			if ok {
				fmt.Fprintln(p.out, x.name)
			}
			return ok, err
		}
	}
	for _, start := range starts {
		if err := f.visit(start, start, 0, expr); err != nil && err != errFindQuit {
			return err
		} else if err != nil {
			break
		}
	}
	for _, flush := range f.batches {
		if err := flush(); err != nil {
			return err
		}
	}
	return nil
}

func (f *finder) visit(name, start string, depth int, expr findExpr) error {
	full := f.p.path(name)
	fi, err := os.Lstat(full)
	if err == nil && f.follow {
		if target, err := os.Stat(full); err == nil {
			fi = target
		}
	}
	if err != nil {
		f.p.warn(about(name, err))
		return nil
	}
	prune := false
	x := &found{name, full, start, fi, depth, &prune}
	judge := func() error {
		if depth < f.min {
			return nil
		}
		_, err := expr(x)
		return err
	}
	if !f.depth {
		if err := judge(); err != nil {
			return err
		}
	}
	if fi.IsDir() && depth < f.max && !prune {
		entries, err := os.ReadDir(full)
		if err != nil {
			f.p.warn(about(name, err))
		}
		for _, e := range entries {
			if err := f.visit(strings.TrimSuffix(name, "/")+"/"+e.Name(), start, depth+1, expr); err != nil {
				return err
			}
		}
	}
	if f.depth {
		return judge()
	}
	return nil
}

func (f *finder) next() (string, bool) {
	if len(f.args) == 0 {
		return "", false
	}
	arg := f.args[0]
	f.args = f.args[1:]
	return arg, true
}

// either reads EXPR -o EXPR.
func (f *finder) either() (findExpr, error) {
	left, err := f.both()
	if err != nil {
		return nil, err
	}
	for len(f.args) > 0 && (f.args[0] == "-o" || f.args[0] == "-or") {
		f.next()
		a := left
		b, err := f.both()
		if err != nil {
			return nil, err
		}
		left = func(x *found) (bool, error) {
			if ok, err := a(x); ok || err != nil {
				return ok, err
			}
			return b(x)
		}
	}
	return left, nil
}

// both reads EXPR [-a] EXPR.
func (f *finder) both() (findExpr, error) {
	left := findExpr(func(*found) (bool, error) { return true, nil })
	for len(f.args) > 0 && f.args[0] != "-o" && f.args[0] != "-or" && f.args[0] != ")" {
		if f.args[0] == "-a" || f.args[0] == "-and" {
			f.next()
		}
		a := left
		b, err := f.primary()
		if err != nil {
			return nil, err
		}
		left = func(x *found) (bool, error) {
			if ok, err := a(x); !ok || err != nil {
				return ok, err
			}
			return b(x)
		}
	}
	return left, nil
}

func (f *finder) primary() (findExpr, error) {
	name, ok := f.next()
	if !ok {
		return nil, errors.New("missing expression")
	}
	switch name {
	case "!", "-not":
		e, err := f.primary()
		if err != nil {
			return nil, err
		}
		return func(x *found) (bool, error) { ok, err := e(x); return !ok, err }, nil
	case "(":
		e, err := f.either()
		if err != nil {
			return nil, err
		}
		if end, _ := f.next(); end != ")" {
			return nil, errors.New("missing )")
		}
		return e, nil
	case "-exec", "-execdir":
		return f.exec(name == "-execdir")
	}
	if e := f.plain(name); e != nil {
		return e, nil
	}
	value, ok := f.next()
	if !ok {
		return nil, fmt.Errorf("%s: unknown, or it needs a value", name)
	}
	e, err := f.withValue(name, value)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", name, value, err)
	}
	return e, nil
}

// plain makes a test or action without a value, nil if name is none.
func (f *finder) plain(name string) findExpr {
	yes := func(fn func(x *found)) findExpr {
		return func(x *found) (bool, error) { fn(x); return true, nil }
	}
	switch name {
	case "-print", "-print0":
		f.acted = true
		end := map[string]byte{"-print": '\n', "-print0": 0}[name]
		return yes(func(x *found) { f.p.line([]byte(x.name), true, end) })
	case "-prune":
		return yes(func(x *found) { *x.prune = true })
	case "-true":
		return yes(func(*found) {})
	case "-false":
		return func(*found) (bool, error) { return false, nil }
	case "-depth":
		f.depth = true
		return yes(func(*found) {})
	case "-quit":
		f.acted = true
		return func(*found) (bool, error) { return false, errFindQuit }
	case "-delete":
		f.acted, f.depth = true, true
		return func(x *found) (bool, error) {
			if x.name == "." {
				return true, nil
			}
			if err := os.Remove(x.path); err != nil {
				f.p.warn(about(x.name, err))
				return false, nil
			}
			return true, nil
		}
	case "-empty":
		return func(x *found) (bool, error) {
			if x.fi.IsDir() {
				entries, err := os.ReadDir(x.path)
				return err == nil && len(entries) == 0, nil
			}
			return x.fi.Mode().IsRegular() && x.fi.Size() == 0, nil
		}
	case "-executable":
		return func(x *found) (bool, error) { return syscall.Access(x.path, 1) == nil, nil }
	case "-readable":
		return func(x *found) (bool, error) { return syscall.Access(x.path, 4) == nil, nil }
	}
	return nil
}

func (f *finder) withValue(name, value string) (findExpr, error) {
	switch name {
	case "-name", "-iname", "-path", "-ipath", "-wholename":
		return f.globTest(name, value)
	case "-regex":
		re, err := compileRegex(`^\(`+value+`\)$`, false, "")
		return func(x *found) (bool, error) { return re.MatchString(x.name), nil }, err
	case "-type":
		return typeTest(value)
	case "-maxdepth", "-mindepth":
		n, err := strconv.Atoi(value)
		if name == "-maxdepth" {
			f.max = n
		} else {
			f.min = n
		}
		return func(*found) (bool, error) { return true, nil }, err
	case "-size":
		return sizeTest(value)
	case "-perm":
		return permTest(value)
	case "-newer":
		fi, err := os.Stat(f.p.path(value))
		if err != nil {
			return nil, cause(err)
		}
		return func(x *found) (bool, error) { return x.fi.ModTime().After(fi.ModTime()), nil }, nil
	case "-mtime", "-mmin":
		unit := map[string]time.Duration{"-mtime": 24 * time.Hour, "-mmin": time.Minute}[name]
		compare, err := countTest(value)
		return func(x *found) (bool, error) { return compare(int64(f.now.Sub(x.fi.ModTime()) / unit)), nil }, err
	case "-links":
		compare, err := countTest(value)
		return func(x *found) (bool, error) { return compare(int64(x.fi.Sys().(*syscall.Stat_t).Nlink)), nil }, err
	case "-printf":
		f.acted = true
		return func(x *found) (bool, error) { return true, f.printf(value, x) }, nil
	}
	return nil, errors.New("unknown expression")
}

// globTest matches a shell pattern; a star also matches slashes in -path.
func (f *finder) globTest(name, glob string) (findExpr, error) {
	mode := pattern.EntireString
	if strings.HasPrefix(name, "-i") {
		mode |= pattern.NoGlobCase
	}
	expr, err := pattern.Regexp(glob, mode)
	if err != nil {
		return nil, err
	}
	re, err := compileGo(expr)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(name, "name") && name != "-wholename" {
		return func(x *found) (bool, error) { return re.MatchString(path.Base(x.name)), nil }, nil
	}
	return func(x *found) (bool, error) { return re.MatchString(x.name), nil }, nil
}

func typeTest(list string) (findExpr, error) {
	types := map[byte]fs.FileMode{'f': 0, 'd': fs.ModeDir, 'l': fs.ModeSymlink, 'p': fs.ModeNamedPipe, 's': fs.ModeSocket,
		'b': fs.ModeDevice, 'c': fs.ModeDevice | fs.ModeCharDevice}
	var wanted []fs.FileMode
	for t := range strings.SplitSeq(list, ",") {
		if len(t) != 1 {
			return nil, errors.New("unknown type")
		}
		mode, ok := types[t[0]]
		if !ok {
			return nil, errors.New("unknown type")
		}
		wanted = append(wanted, mode)
	}
	return func(x *found) (bool, error) {
		for _, mode := range wanted {
			if x.fi.Mode().Type() == mode {
				return true, nil
			}
		}
		return false, nil
	}, nil
}

// countTest reads N, +N (more) or -N (less).
func countTest(value string) (func(int64) bool, error) {
	n, err := strconv.ParseInt(strings.TrimLeft(value, "+-"), 10, 64)
	switch {
	case strings.HasPrefix(value, "+"):
		return func(v int64) bool { return v > n }, err
	case strings.HasPrefix(value, "-"):
		return func(v int64) bool { return v < n }, err
	}
	return func(v int64) bool { return v == n }, err
}

func sizeTest(value string) (findExpr, error) {
	units := map[byte]int64{'c': 1, 'w': 2, 'b': 512, 'k': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}
	unit := int64(512)
	if n := len(value) - 1; n >= 0 && units[value[n]] > 0 {
		unit, value = units[value[n]], value[:n]
	}
	compare, err := countTest(value)
	return func(x *found) (bool, error) { return compare((x.fi.Size() + unit - 1) / unit), nil }, err
}

// permTest reads MODE (exactly), -MODE (all of its bits) or /MODE (any).
func permTest(value string) (findExpr, error) {
	want, err := newMode(0, false, strings.TrimLeft(value, "-/"))
	return func(x *found) (bool, error) {
		have := x.fi.Sys().(*syscall.Stat_t).Mode & 0o7777
		switch value[0] {
		case '-':
			return have&want == want, nil
		case '/':
			return want == 0 || have&want != 0, nil
		}
		return have == want, nil
	}, err
}

// exec reads COMMAND… ; or COMMAND… {} +.
func (f *finder) exec(inDir bool) (findExpr, error) {
	f.acted = true
	var words []string
	for {
		word, ok := f.next()
		if !ok {
			return nil, errors.New("-exec: missing ;")
		}
		if word == ";" && len(words) > 0 {
			return func(x *found) (bool, error) { return f.runExec(words, x, inDir), nil }, nil
		}
		if word == "+" && len(words) > 1 && words[len(words)-1] == "{}" {
			break
		}
		words = append(words, word)
	}
	if inDir {
		return nil, errors.New("-execdir … + is not supported")
	}
	words = words[:len(words)-1]
	var batch []string
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if f.p.call(append(append([]string{}, words...), batch...)) != 0 {
			f.p.status = 1
		}
		batch, size = nil, 0
		return nil
	}
	f.batches = append(f.batches, flush)
	return func(x *found) (bool, error) {
		batch = append(batch, x.name)
		if size += len(x.name) + 1; size > 100<<10 {
			return true, flush()
		}
		return true, nil
	}, nil
}

func (f *finder) runExec(words []string, x *found, inDir bool) bool {
	args := make([]string, len(words))
	name := x.name
	if inDir {
		name = "./" + path.Base(x.name)
	}
	for i, word := range words {
		args[i] = strings.ReplaceAll(word, "{}", name)
	}
	sub := *f.p
	if inDir {
		sub.dir = filepath.Dir(x.path)
	}
	return sub.call(args) == 0
}

func (f *finder) printf(format string, x *found) error {
	format = unescape(format)
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			f.p.out.WriteByte(format[i])
			continue
		}
		i++
		l := listed{x.name, x.path, x.fi}
		var text string
		var err error
		switch c := format[i]; c {
		case 'p':
			text = x.name
		case 'f':
			text = path.Base(x.name)
		case 'h':
			text = path.Dir(x.name)
		case 'P':
			text = strings.TrimPrefix(strings.TrimPrefix(x.name, x.start), "/")
		case 'd':
			text = strconv.Itoa(x.depth)
		case 'l':
			text, _ = os.Readlink(x.path)
		case 'm':
			text, err = statField('a', l)
		case 'M':
			text, err = statField('A', l)
		case 'n':
			text, err = statField('h', l)
		case 's', 'i', 'u', 'g', '%':
			text, err = statField(c, l)
		case 'y':
			text = strings.Replace(modeString(l.stat().Mode)[:1], "-", "f", 1)
		case 'T':
			if i++; i < len(format) && format[i] == '@' {
				text = fmt.Sprintf("%d.%09d0", l.stat().Mtim.Sec, l.stat().Mtim.Nsec)
				break
			}
			fallthrough
		default:
			return fmt.Errorf("-printf: unknown format %%%c", c)
		}
		if err != nil {
			return err
		}
		f.p.out.WriteString(text)
	}
	return nil
}
