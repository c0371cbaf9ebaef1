package toolbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A span is a range of positions from 1, as cut writes it; end 0 is open.
type span struct{ start, end int }

func parseSpans(list string) ([]span, error) {
	var spans []span
	for part := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		from, to, isRange := strings.Cut(part, "-")
		s := span{start: 1}
		var err1, err2 error
		if from != "" {
			s.start, err1 = strconv.Atoi(from)
		}
		switch {
		case to != "":
			s.end, err2 = strconv.Atoi(to)
		case !isRange:
			s.end = s.start
		}
		if err1 != nil || err2 != nil || s.start < 1 || part == "-" || s.end != 0 && s.end < s.start {
			return nil, fmt.Errorf("bad range %q", part)
		}
		spans = append(spans, s)
	}
	if spans == nil {
		return nil, errors.New("empty list")
	}
	return spans, nil
}

func inSpans(spans []span, n int) bool {
	for _, s := range spans {
		if n >= s.start && (s.end == 0 || n <= s.end) {
			return true
		}
	}
	return false
}

func cut(p *proc, args []string) error {
	opts, files, err := p.options(args, "b:c:f:d:snC1:z", "bytes=b characters=c fields=f delimiter=d only-delimited=s complement=C output-delimiter=1 zero-terminated=z")
	if err != nil {
		return err
	}
	flag := opts.last("bcf")
	if flag == 0 {
		return errors.New("want a list of bytes, characters or fields")
	}
	spans, err := parseSpans(opts.value(flag, ""))
	if err != nil {
		return err
	}
	delim := opts.value('d', "\t")
	if utf8.RuneCountInString(delim) != 1 {
		return errors.New("the delimiter must be a single character")
	}
	outDelim := opts.value('1', delim)
	if flag != 'f' {
		outDelim = opts.value('1', "")
	}
	end, complement := lineEnd(opts), opts.has('C')
	return p.each(files, func(_ string, r io.Reader) error {
		return lines(r, end, func(line []byte, _ bool) error {
			var parts [][]byte
			switch {
			case flag == 'f' && !bytes.Contains(line, []byte(delim)):
				if !opts.has('s') {
					p.line(line, true, end)
				}
				return nil
			case flag == 'f':
				parts = bytes.Split(line, []byte(delim))
			case flag == 'c':
				parts = bytes.Split(line, nil)
			default:
				for i := range line {
					parts = append(parts, line[i:i+1])
				}
			}
			prev := 0
			for i, part := range parts {
				if inSpans(spans, i+1) == complement {
					continue
				}
				if prev != 0 && (flag == 'f' || prev != i) {
					p.out.WriteString(outDelim)
				}
				prev = i + 1
				p.out.Write(part)
			}
			return p.out.WriteByte(end)
		})
	})
}

// A lineReader yields the lines of one file, for what walks several files at once.
type lineReader struct {
	next func() ([]byte, bool)
	line []byte
	ok   bool
}

func (p *proc) openLines(name string, stdin io.Reader) (*lineReader, error) {
	var data []byte
	var err error
	if name == "-" {
		data, err = io.ReadAll(stdin)
	} else {
		var f io.ReadCloser
		if f, err = p.open(name); err != nil {
			return nil, err
		}
		defer f.Close()
		data, err = io.ReadAll(f)
	}
	r := &lineReader{next: func() ([]byte, bool) {
		if len(data) == 0 {
			return nil, false
		}
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		return line, true
	}}
	r.advance()
	return r, about(name, err)
}

func (r *lineReader) advance() { r.line, r.ok = r.next() }

func paste(p *proc, args []string) error {
	opts, files, err := p.options(args, "d:s", "delimiters=d serial=s")
	if err != nil {
		return err
	}
	if len(files) == 0 {
		files = []string{"-"}
	}
	delims := []rune(strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`, `\0`, "\x00").Replace(opts.value('d', "\t")))
	if len(delims) == 0 {
		delims = []rune{0}
	}
	delim := func(i int) {
		if d := delims[i%len(delims)]; d != 0 {
			p.out.WriteRune(d)
		}
	}
	readers := make([]*lineReader, len(files))
	var stdin *lineReader
	for i, name := range files {
		if name == "-" && stdin != nil {
			readers[i] = stdin
			continue
		}
		if readers[i], err = p.openLines(name, p.stdin); err != nil {
			return err
		}
		if name == "-" {
			stdin = readers[i]
		}
	}
	if opts.has('s') {
		for _, r := range readers {
			for i := 0; r.ok; i++ {
				if i > 0 {
					delim(i - 1)
				}
				p.out.Write(r.line)
				r.advance()
			}
			p.out.WriteByte('\n')
		}
		return nil
	}
	for anyLeft(readers) {
		for i, r := range readers {
			if i > 0 {
				delim(i - 1)
			}
			if r.ok {
				p.out.Write(r.line)
				r.advance()
			}
		}
		p.out.WriteByte('\n')
	}
	return nil
}

func anyLeft(readers []*lineReader) bool {
	for _, r := range readers {
		if r.ok {
			return true
		}
	}
	return false
}

func comm(p *proc, args []string) error {
	opts, files, err := p.options(args, "123", "")
	if err != nil {
		return err
	}
	if len(files) != 2 {
		return errors.New("want two files")
	}
	a, err := p.openLines(files[0], p.stdin)
	if err != nil {
		return err
	}
	b, err := p.openLines(files[1], p.stdin)
	if err != nil {
		return err
	}
	show := func(column byte, line []byte) {
		if opts.has(column) {
			return
		}
		for c := byte('1'); c < column; c++ {
			if !opts.has(c) {
				p.out.WriteByte('\t')
			}
		}
		p.line(line, true, '\n')
	}
	for a.ok || b.ok {
		switch c := bytes.Compare(a.line, b.line); {
		case !b.ok || a.ok && c < 0:
			show('1', a.line)
			a.advance()
		case !a.ok || c > 0:
			show('2', b.line)
			b.advance()
		default:
			show('3', a.line)
			a.advance()
			b.advance()
		}
	}
	return nil
}

// join joins lines of two sorted files on a field: join [-t C] [-1 N] [-2 N] [-j N] [-a N] [-v N].
func join(p *proc, args []string) error {
	opts, files, err := p.options(args, "t:1:2:j:a:v:", "")
	if err != nil {
		return err
	}
	if len(files) != 2 {
		return errors.New("want two files")
	}
	var fields [2]int
	var in [2]*lineReader
	for i, flag := range []byte("12") {
		if fields[i], err = strconv.Atoi(opts.value(flag, opts.value('j', "1"))); err != nil || fields[i] < 1 {
			return errors.New("bad field number")
		}
		if in[i], err = p.openLines(files[i], p.stdin); err != nil {
			return err
		}
	}
	sep := opts.value('t', "")
	fieldsOf := func(i int, line []byte) (string, []string) {
		all := strings.Fields(string(line))
		if sep != "" {
			all = strings.Split(string(line), sep)
		}
		n := fields[i] - 1
		if n >= len(all) {
			return "", all
		}
		return all[n], append(append([]string{}, all[:n]...), all[n+1:]...)
	}
	put := func(words ...string) {
		s := sep
		if s == "" {
			s = " "
		}
		p.out.WriteString(strings.Join(words, s) + "\n")
	}
	only := func(i int, key string, rest []string) {
		for _, v := range append(opts.all('a'), opts.all('v')...) {
			if v == strconv.Itoa(i+1) {
				put(append([]string{key}, rest...)...)
				return
			}
		}
	}
	for in[0].ok && in[1].ok {
		k0, r0 := fieldsOf(0, in[0].line)
		k1, r1 := fieldsOf(1, in[1].line)
		switch {
		case k0 < k1:
			only(0, k0, r0)
			in[0].advance()
		case k0 > k1:
			only(1, k1, r1)
			in[1].advance()
		default:
			var right [][]string
			for in[1].ok {
				k, r := fieldsOf(1, in[1].line)
				if k != k0 {
					break
				}
				right = append(right, r)
				in[1].advance()
			}
			for in[0].ok {
				k, r := fieldsOf(0, in[0].line)
				if k != k0 {
					break
				}
				for _, r1 := range right {
					if !opts.has('v') {
						put(append(append([]string{k}, r...), r1...)...)
					}
				}
				in[0].advance()
			}
		}
	}
	for i := range in {
		for in[i].ok {
			k, r := fieldsOf(i, in[i].line)
			only(i, k, r)
			in[i].advance()
		}
	}
	return nil
}
