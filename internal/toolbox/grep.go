package toolbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A grepper is one call of grep.
type grepper struct {
	p             *proc
	opts          options
	match         func(line []byte) bool
	find          func(line []byte) [][]int // all matches, for -o
	names         bool
	before, after int
	limit         int // -m; -1: none
	matched       bool
	end           byte
}

func grep(p *proc, args []string) error {
	args = contextCount(args)
	opts, files, err := p.options(args, "EFGPe:f:ivwxcloqsnHhrRLm:A:B:C:azI1:2:3:4:", "extended-regexp=E fixed-strings=F basic-regexp=G perl-regexp=P "+
		"regexp=e file=f ignore-case=i invert-match=v word-regexp=w line-regexp=x count=c files-with-matches=l only-matching=o quiet=q "+
		"silent=q no-messages=s line-number=n with-filename=H no-filename=h recursive=r files-without-match=L max-count=m "+
		"after-context=A before-context=B context=C text=a null-data=z include=1 exclude=2 exclude-dir=3 color=4 colour=4")
	if err != nil {
		return err
	}
	patterns, files, err := grepPatterns(p, opts, files)
	if err != nil {
		return err
	}
	g := &grepper{p: p, opts: opts, limit: -1, end: lineEnd(opts)}
	if err := g.numbers(); err != nil {
		return err
	}
	if err := g.compile(patterns); err != nil {
		return err
	}
	recursive := opts.last("rR") != 0
	if recursive && len(files) == 0 {
		files = []string{"."}
	}
	g.names = (len(files) > 1 || recursive) && !opts.has('h') || opts.has('H')
	if f := opts.last("Hh"); f != 0 {
		g.names = f == 'H'
	}
	if recursive {
		files = g.walk(files)
	}
	if err := g.files(files); err != nil {
		return err
	}
	if g.matched && (p.status == 0 || opts.has('q')) {
		return exit(0)
	}
	if p.status != 0 {
		return exit(p.status)
	}
	return exit(1)
}

// contextCount turns -N into -C N.
func contextCount(args []string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		if arg == "--" {
			break
		}
		if len(arg) > 1 && arg[0] == '-' && strings.Trim(arg[1:], "0123456789") == "" {
			out[i] = "-C" + arg[1:]
		}
	}
	return out
}

func grepPatterns(p *proc, opts options, files []string) ([]string, []string, error) {
	var patterns []string
	for _, text := range opts.all('e') {
		patterns = append(patterns, strings.Split(text, "\n")...)
	}
	for _, name := range opts.all('f') {
		f, err := p.open(name)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		err = lines(f, '\n', func(line []byte, _ bool) error {
			patterns = append(patterns, string(line))
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	if opts.last("ef") == 0 {
		if len(files) == 0 {
			return nil, nil, errors.New("missing pattern")
		}
		patterns, files = strings.Split(files[0], "\n"), files[1:]
	}
	return patterns, files, nil
}

func (g *grepper) numbers() error {
	for _, o := range g.opts {
		if strings.IndexByte("ABCm", o.flag) < 0 {
			continue
		}
		n, err := strconv.Atoi(o.value)
		if err != nil || n < 0 {
			return fmt.Errorf("option -%c: bad number %q", o.flag, o.value)
		}
		switch o.flag {
		case 'A':
			g.after = n
		case 'B':
			g.before = n
		case 'C':
			g.before, g.after = n, n
		case 'm':
			g.limit = n
		}
	}
	return nil
}

// compile makes one matcher of all patterns.
func (g *grepper) compile(patterns []string) error {
	opts := g.opts
	kind := opts.last("EFGP")
	switch {
	case kind == 0 && g.p.name == "egrep":
		kind = 'E'
	case kind == 0 && g.p.name == "fgrep":
		kind = 'F'
	}
	word, whole, fold := opts.has('w'), opts.has('x'), opts.has('i')
	if len(patterns) == 1 && isPlain(patterns[0], kind) && !word && !whole && !fold {
		literal := []byte(patterns[0])
		g.match = func(line []byte) bool { return bytes.Contains(line, literal) }
		if !opts.has('o') {
			return nil
		}
	}
	res := make([]*regexp.Regexp, 0, len(patterns))
	flags := ""
	if fold {
		flags = "i"
	}
	for _, pattern := range patterns {
		var re *regexp.Regexp
		var err error
		switch kind {
		case 'F':
			re, err = regexp.Compile("(?s" + flags + ")" + regexp.QuoteMeta(pattern))
		case 'P':
			re, err = regexp.Compile("(?" + "s" + flags + ")" + pattern)
		default:
			re, err = compileRegex(pattern, kind == 'E', flags)
		}
		if err != nil {
			return err
		}
		if kind != 'P' {
			re.Longest()
		}
		if whole {
			re = regexp.MustCompile("^(?:" + re.String() + ")$")
		}
		res = append(res, re)
	}
	g.find = func(line []byte) [][]int { return findAll(res, line, word) }
	if g.match == nil {
		g.match = func(line []byte) bool {
			for _, re := range res {
				if word && len(wordMatches(re, line)) > 0 || !word && re.Match(line) {
					return true
				}
			}
			return false
		}
	}
	return nil
}

func isPlain(pattern string, kind byte) bool {
	return kind == 'F' || !strings.ContainsAny(pattern, `\.[]*^$+?(){}|`)
}

// wordMatches returns the matches that have no word character on either side.
func wordMatches(re *regexp.Regexp, line []byte) [][]int {
	var out [][]int
	for at := 0; at <= len(line); {
		loc := re.FindIndex(line[at:])
		if loc == nil {
			break
		}
		start, end := at+loc[0], at+loc[1]
		before, _ := utf8.DecodeLastRune(line[:start])
		after, _ := utf8.DecodeRune(line[end:])
		if !isWord(before) && !isWord(after) && end > start {
			out = append(out, []int{start, end})
			at = end
			continue
		}
		at = start + 1
	}
	return out
}

func isWord(r rune) bool {
	return r == '_' || r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

// findAll returns the matches of all patterns, leftmost and then longest first.
func findAll(res []*regexp.Regexp, line []byte, word bool) [][]int {
	var all [][]int
	for _, re := range res {
		if word {
			all = append(all, wordMatches(re, line)...)
		} else {
			all = append(all, re.FindAllIndex(line, -1)...)
		}
	}
	slices.SortStableFunc(all, func(a, b []int) int {
		if a[0] != b[0] {
			return a[0] - b[0]
		}
		return b[1] - a[1]
	})
	out, end := all[:0], 0
	for _, m := range all {
		if m[0] >= end && m[1] > m[0] {
			out, end = append(out, m), m[1]
		}
	}
	return out
}

// walk lists the files below names.
func (g *grepper) walk(names []string) []string {
	var files []string
	for _, name := range names {
		err := filepath.WalkDir(g.p.path(name), func(path string, d fs.DirEntry, err error) error {
			shown := name + strings.TrimPrefix(path, g.p.path(name))
			if err != nil {
				g.warn(about(shown, err))
				return nil
			}
			if d.IsDir() {
				if matchAny(g.opts.all('3'), d.Name()) && shown != name {
					return filepath.SkipDir
				}
				return nil
			}
			include := g.opts.all('1')
			if matchAny(g.opts.all('2'), d.Name()) || len(include) > 0 && !matchAny(include, d.Name()) {
				return nil
			}
			if d.Type().IsRegular() || shown == name || d.Type()&fs.ModeSymlink != 0 && g.opts.has('R') {
				files = append(files, shown)
			}
			return nil
		})
		if err != nil {
			g.warn(about(name, err))
		}
	}
	return files
}

func matchAny(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if ok, _ := filepath.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

func (g *grepper) warn(err error) {
	if !g.opts.has('s') {
		g.p.complain(err)
	}
	g.p.status = 2
}

func (g *grepper) files(files []string) error {
	if len(files) == 0 {
		files = []string{"-"}
	}
	for _, name := range files {
		f, err := g.p.open(name)
		if err == nil {
			if st, ok := f.(*os.File); ok && isDir(st) {
				f.Close()
				err = fmt.Errorf("%s: is a directory", name)
			}
		}
		if err != nil {
			g.warn(err)
			continue
		}
		if name == "-" {
			name = "(standard input)"
		}
		err = g.file(name, f)
		f.Close()
		if err != nil {
			return err
		}
		if g.matched && g.opts.has('q') {
			return nil
		}
	}
	return nil
}

func isDir(f *os.File) bool {
	fi, err := f.Stat()
	return err == nil && fi.IsDir()
}

// file greps one file.
func (g *grepper) file(name string, r io.Reader) error {
	opts, invert := g.opts, g.opts.has('v')
	silent := opts.last("clLq") != 0
	count, n, lastShown, pending := 0, 0, 0, 0
	binary := false
	var held [][]byte
	err := lines(r, g.end, func(line []byte, _ bool) error {
		n++
		if g.limit == 0 || g.limit > 0 && count >= g.limit && pending == 0 {
			return errStop
		}
		if (g.limit < 0 || count < g.limit) && g.match(line) != invert {
			count++
			g.matched = true
			if opts.last("qlL") != 0 {
				return errStop
			}
			if silent {
				return nil
			}
			if !opts.has('a') && g.end == '\n' && bytes.IndexByte(line, 0) >= 0 {
				binary = true
				return errStop
			}
			if (g.before > 0 || g.after > 0) && lastShown > 0 && lastShown < n-len(held)-1 {
				g.p.out.WriteString("--\n")
			}
			for i, h := range held {
				g.show(name, n-len(held)+i, '-', h)
			}
			held = held[:0]
			g.matchLine(name, n, line)
			lastShown, pending = n, g.after
			return nil
		}
		switch {
		case silent:
		case pending > 0:
			g.show(name, n, '-', line)
			pending--
			lastShown = n
		case g.before > 0:
			if len(held) == g.before {
				held = held[1:]
			}
			held = append(held, bytes.Clone(line))
		}
		return nil
	})
	switch {
	case binary:
		g.p.complain(fmt.Errorf("%s: binary file matches", name))
	case opts.has('q'):
	case opts.has('l') && count > 0, opts.has('L') && count == 0:
		fmt.Fprintln(g.p.out, name)
	case opts.has('c') && opts.last("lL") == 0:
		if g.names {
			g.p.out.WriteString(name + ":")
		}
		fmt.Fprintln(g.p.out, count)
	}
	return err
}

func (g *grepper) matchLine(name string, n int, line []byte) {
	if !g.opts.has('o') {
		g.show(name, n, ':', line)
		return
	}
	if g.opts.has('v') {
		return
	}
	for _, m := range g.find(line) {
		g.show(name, n, ':', line[m[0]:m[1]])
	}
}

func (g *grepper) show(name string, n int, sep byte, line []byte) {
	if sep == '-' && g.opts.has('o') {
		return
	}
	if g.names {
		g.p.out.WriteString(name)
		g.p.out.WriteByte(sep)
	}
	if g.opts.has('n') {
		g.p.out.WriteString(strconv.Itoa(n))
		g.p.out.WriteByte(sep)
	}
	g.p.line(line, true, g.end)
}
