package toolbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// sed edits a stream: sed [-nEsz] [-i[SUFFIX]] [-e SCRIPT] [-f FILE] [SCRIPT] [FILE]...
func sed(p *proc, args []string) error {
	args, inPlace, suffix := sedInPlace(args)
	opts, files, err := p.options(args, "nErse:f:zub", "quiet=n silent=n regexp-extended=E expression=e file=f separate=s null-data=z unbuffered=u")
	if err != nil {
		return err
	}
	var scripts []string
	for _, o := range opts {
		switch o.flag {
		case 'e':
			scripts = append(scripts, o.value)
		case 'f':
			f, err := p.open(o.value)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(f)
			f.Close()
			if err != nil {
				return about(o.value, err)
			}
			scripts = append(scripts, strings.TrimSuffix(string(data), "\n"))
		}
	}
	if scripts == nil {
		if len(files) == 0 {
			return errors.New("missing script")
		}
		scripts, files = files[:1], files[1:]
	}
	script := strings.Join(scripts, "\n")
	quiet := opts.has('n')
	if strings.HasPrefix(script, "#n\n") || script == "#n" {
		quiet = true
	}
	commands, err := parseSed(script, opts.last("Er") != 0)
	if err != nil {
		return err
	}
	ed := &sedEditor{p: p, commands: commands, quiet: quiet, end: lineEnd(opts), out: p.out, outs: map[string]*os.File{}}
	defer ed.closeOuts()
	if !inPlace && !opts.has('s') {
		return ed.run(ed.open(files))
	}
	if inPlace && len(files) == 0 {
		return errors.New("option -i needs a file")
	}
	for _, name := range files {
		if err := ed.one(name, inPlace, suffix); err != nil {
			return err
		}
		if ed.quit {
			break
		}
	}
	return ed.exitStatus()
}

// sedInPlace takes -i out of args, since its value is optional.
func sedInPlace(args []string) (rest []string, inPlace bool, suffix string) {
	for i, arg := range args {
		if arg == "--" {
			return append(rest, args[i:]...), inPlace, suffix
		}
		if s, ok := strings.CutPrefix(arg, "--in-place"); ok {
			inPlace, suffix = true, strings.TrimPrefix(s, "=")
			continue
		}
		prev := ""
		if i > 0 {
			prev = args[i-1]
		}
		if j := strings.IndexByte(arg, 'i'); j > 0 && arg[0] == '-' && strings.Trim(arg[1:j], "nErszu") == "" && prev != "-e" && prev != "-f" {
			inPlace, suffix = true, arg[j+1:]
			if j > 1 {
				rest = append(rest, arg[:j])
			}
			continue
		}
		rest = append(rest, arg)
	}
	return rest, inPlace, suffix
}

// A sedEditor is the state of sed between commands.
type sedEditor struct {
	p        *proc
	commands []*sedCommand
	quiet    bool
	end      byte
	out      *bufio.Writer
	outs     map[string]*os.File // of w

	in      *sedInput
	pattern []byte
	hold    []byte
	whole   bool // the line had an end
	appends [][]byte
	replace bool // a substitution was made since the last line or t
	quit    bool
	status  int
	used    *regexp.Regexp // the last one that ran
}

// A sedInput reads lines of several files and knows which is the last.
type sedInput struct {
	next   func() (line []byte, whole bool, ok bool)
	line   []byte
	whole  bool
	ok     bool
	number int
}

func (in *sedInput) peek() { in.line, in.whole, in.ok = in.next() }

func (ed *sedEditor) open(files []string) *sedInput {
	if len(files) == 0 {
		files = []string{"-"}
	}
	var br *bufio.Reader
	var closer io.Closer
	in := &sedInput{}
	in.next = func() ([]byte, bool, bool) {
		for {
			if br == nil {
				if len(files) == 0 {
					return nil, false, false
				}
				f, err := ed.p.open(files[0])
				files = files[1:]
				if err != nil {
					ed.p.fail = 2
					ed.p.warn(err)
					continue
				}
				br, closer = bufio.NewReaderSize(f, 32<<10), f
			}
			line, err := br.ReadBytes(ed.end)
			if len(line) > 0 {
				whole := line[len(line)-1] == ed.end
				if whole {
					line = line[:len(line)-1]
				}
				return line, whole, true
			}
			if err != nil && err != io.EOF {
				ed.p.warn(cause(err))
			}
			closer.Close()
			br = nil
		}
	}
	in.peek()
	return in
}

// one edits a single file, in place if asked.
func (ed *sedEditor) one(name string, inPlace bool, suffix string) error {
	if !inPlace {
		return ed.each(ed.open([]string{name}))
	}
	path := ed.p.path(name)
	fi, err := os.Stat(path)
	if err != nil {
		ed.p.fail = 4
		ed.p.warn(about(name, err))
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".sed*")
	if err != nil {
		return about(name, err)
	}
	defer os.Remove(tmp.Name())
	ed.out = bufio.NewWriter(tmp)
	err = ed.each(ed.open([]string{name}))
	err = errors.Join(err, ed.out.Flush(), tmp.Chmod(fi.Mode().Perm()), tmp.Close())
	ed.out = ed.p.out
	if err != nil {
		return err
	}
	if suffix != "" {
		backup := path + suffix
		if strings.Contains(suffix, "*") {
			backup = filepath.Join(filepath.Dir(path), strings.ReplaceAll(suffix, "*", filepath.Base(path)))
		}
		if err := os.Rename(path, backup); err != nil {
			return about(name, err)
		}
	}
	return about(name, os.Rename(tmp.Name(), path))
}

func (ed *sedEditor) run(in *sedInput) error {
	if err := ed.each(in); err != nil {
		return err
	}
	return ed.exitStatus()
}

func (ed *sedEditor) exitStatus() error {
	if ed.status != 0 {
		return exit(ed.status)
	}
	return nil
}

// each runs the script for every line of in.
func (ed *sedEditor) each(in *sedInput) error {
	ed.in = in
	again := false // D restarts without reading
	for ed.in.ok || again {
		if !again {
			ed.read()
			ed.replace = false
		}
		var err error
		if again, err = ed.cycle(); err != nil {
			return err
		}
		if ed.quit {
			break
		}
	}
	return nil
}

func (ed *sedEditor) read() {
	ed.pattern, ed.whole = append(ed.pattern[:0], ed.in.line...), ed.in.whole
	ed.in.number++
	ed.in.peek()
}

func (ed *sedEditor) print(line []byte, whole bool) {
	ed.out.Write(line)
	if whole {
		ed.out.WriteByte(ed.end)
	}
}

// flushAppends writes what a and r queued.
func (ed *sedEditor) flushAppends() {
	for _, text := range ed.appends {
		if !ed.whole {
			ed.out.WriteByte('\n')
			ed.whole = true
		}
		ed.out.Write(text)
	}
	ed.appends = ed.appends[:0]
}

func (ed *sedEditor) endCycle() {
	if !ed.quiet {
		ed.print(ed.pattern, ed.whole)
	}
	ed.flushAppends()
}

// cycle runs the script once. again is true if D wants it run without reading.
func (ed *sedEditor) cycle() (again bool, err error) {
	for pc := 0; pc < len(ed.commands); pc++ {
		c := ed.commands[pc]
		if !c.selects(ed) {
			if c.name == '{' {
				pc = c.jump
			}
			continue
		}
		switch c.name {
		case '{', '}', ':', '#':
		case '=':
			fmt.Fprintf(ed.out, "%d\n", ed.in.number)
		case 'a':
			ed.appends = append(ed.appends, []byte(c.text))
		case 'i':
			ed.out.WriteString(c.text)
		case 'c':
			if c.second == nil || !c.active || c.negate {
				ed.out.WriteString(c.text)
			}
			ed.flushAppends()
			return false, nil
		case 'b':
			pc = c.jump
		case 't', 'T':
			if ed.replace == (c.name == 't') {
				pc = c.jump
			}
			ed.replace = false
		case 'd':
			ed.flushAppends()
			return false, nil
		case 'D':
			i := bytes.IndexByte(ed.pattern, '\n')
			ed.flushAppends()
			if i < 0 {
				return false, nil
			}
			ed.pattern = append(ed.pattern[:0], ed.pattern[i+1:]...)
			return true, nil
		case 'p':
			ed.print(ed.pattern, true)
		case 'P':
			first, _, _ := bytes.Cut(ed.pattern, []byte("\n"))
			ed.print(first, true)
		case 'n':
			if !ed.in.ok {
				ed.quit = true
				ed.endCycle()
				return false, nil
			}
			ed.endCycle()
			ed.read()
		case 'N':
			if !ed.in.ok { // GNU prints the pattern space here
				ed.quit = true
				ed.endCycle()
				return false, nil
			}
			ed.flushAppends()
			held := append(bytes.Clone(ed.pattern), '\n')
			ed.read()
			ed.pattern = append(held, ed.pattern...)
		case 'g':
			ed.pattern = append(ed.pattern[:0], ed.hold...)
		case 'G':
			ed.pattern = append(append(ed.pattern, '\n'), ed.hold...)
		case 'h':
			ed.hold = append(ed.hold[:0], ed.pattern...)
		case 'H':
			ed.hold = append(append(ed.hold, '\n'), ed.pattern...)
		case 'x':
			ed.pattern, ed.hold = ed.hold, ed.pattern
		case 'l':
			ed.out.WriteString(sedList(ed.pattern))
		case 'q', 'Q':
			ed.quit, ed.status = true, c.number
			if c.name == 'q' {
				ed.endCycle()
			}
			return false, nil
		case 'r':
			if data, err := os.ReadFile(ed.p.path(c.text)); err == nil {
				ed.appends = append(ed.appends, data)
			}
		case 's':
			if err := ed.substitute(c); err != nil {
				return false, err
			}
		case 'w':
			if err := ed.write(c.text); err != nil {
				return false, err
			}
		case 'y':
			ed.pattern = []byte(c.replacer.Replace(string(ed.pattern)))
		case 'z':
			ed.pattern = ed.pattern[:0]
		default:
			return false, fmt.Errorf("command %c is not supported", c.name)
		}
	}
	ed.endCycle()
	return false, nil
}

// write appends the pattern space to a file, which is emptied at first.
func (ed *sedEditor) write(name string) error {
	line := append(bytes.Clone(ed.pattern), '\n')
	switch name {
	case "/dev/stdout":
		_, err := ed.out.Write(line)
		return err
	case "/dev/stderr":
		_, err := ed.p.stderr.Write(line)
		return err
	}
	f := ed.outs[name]
	if f == nil {
		var err error
		if f, err = os.Create(ed.p.path(name)); err != nil {
			return about(name, err)
		}
		ed.outs[name] = f
	}
	_, err := f.Write(line)
	return about(name, err)
}

func (ed *sedEditor) closeOuts() {
	for _, f := range ed.outs {
		f.Close()
	}
}

// substitute runs an s command on the pattern space.
func (ed *sedEditor) substitute(c *sedCommand) error {
	var out []byte
	re, err := c.regex.get(ed)
	if err != nil {
		return err
	}
	at, n, done := 0, 0, false
	for _, m := range re.FindAllSubmatchIndex(ed.pattern, -1) {
		n++
		if n < c.number || n > c.number && !c.global {
			continue
		}
		out = append(out, ed.pattern[at:m[0]]...)
		out = c.expand(out, ed.pattern, m)
		at, done = m[1], true
	}
	if !done {
		return nil
	}
	ed.pattern = append(out, ed.pattern[at:]...)
	ed.replace = true
	if c.print {
		ed.print(ed.pattern, true)
	}
	if c.text != "" {
		return ed.write(c.text)
	}
	return nil
}

// sedList shows a line unambiguously, folded at 69 characters and ending in $.
func sedList(line []byte) string {
	var b strings.Builder
	column := 0
	put := func(s string) {
		if column+len(s) > 69 {
			b.WriteString("\\\n")
			column = 0
		}
		b.WriteString(s)
		column += len(s)
	}
	for _, c := range line {
		switch i := strings.IndexByte("\a\b\f\n\r\t\v\\", c); {
		case i >= 0:
			put(`\` + `abfnrtv\`[i:i+1])
		case c < 32 || c > 126:
			put(fmt.Sprintf(`\%03o`, c))
		default:
			put(string(c))
		}
	}
	return b.String() + "$\n"
}
