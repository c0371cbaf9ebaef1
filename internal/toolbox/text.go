package toolbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

func cat(p *proc, args []string) error {
	opts, files, err := p.options(args, "nbsuvETA", "number=n number-nonblank=b squeeze-blank=s show-ends=E show-tabs=T show-nonprinting=v show-all=A")
	if err != nil {
		return err
	}
	plain := opts.last("nbsvETA") == 0
	n, blanks := 0, 0
	return p.each(files, func(_ string, r io.Reader) error {
		if plain {
			_, err := io.Copy(p.stdout, r)
			return err
		}
		return lines(r, '\n', func(line []byte, whole bool) error {
			if blanks++; len(line) > 0 || !whole {
				blanks = 0
			}
			if opts.has('s') && blanks > 1 {
				return nil
			}
			if opts.has('b') && len(line) > 0 || opts.has('n') && !opts.has('b') {
				n++
				fmt.Fprintf(p.out, "%6d\t", n)
			}
			p.out.Write(visible(line, opts.last("TA") != 0, opts.last("vA") != 0))
			if whole {
				if opts.last("EA") != 0 {
					p.out.WriteByte('$')
				}
				p.out.WriteByte('\n')
			}
			return nil
		})
	})
}

// visible shows tabs as ^I and other control bytes as ^X, bytes over 127 as M-x.
func visible(line []byte, tabs, controls bool) []byte {
	if !tabs && !controls {
		return line
	}
	var out []byte
	for _, c := range line {
		if c == '\t' {
			if tabs {
				out = append(out, "^I"...)
			} else {
				out = append(out, c)
			}
			continue
		}
		if controls && c >= 128 {
			out = append(out, "M-"...)
			c -= 128
		}
		if controls && (c < 32 || c == 127) {
			out = append(out, '^', c^64)
		} else {
			out = append(out, c)
		}
	}
	return out
}

// oldCount turns the old form -N into -n N.
func oldCount(args []string, spec string) []string {
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0][1] >= '0' && args[0][1] <= '9' {
		return append([]string{"-" + spec, args[0][1:]}, args[1:]...)
	}
	return args
}

// size reads a number with a suffix: b 512, k or K 1024, M, G, T, and kB, MB, GB
// for powers of 1000.
func size(s string) (int64, error) {
	digits := strings.TrimRight(s, "bkKMGTiB")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	units := map[string]int64{
		"": 1, "b": 512, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "KiB": 1 << 10, "MiB": 1 << 20,
		"GiB": 1 << 30, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9,
	}
	unit, ok := units[s[len(digits):]]
	if !ok {
		return 0, fmt.Errorf("%q: unknown unit", s)
	}
	return n * unit, nil
}

// headers prints "==> name <==" before each file but for a single one.
func (p *proc) headers(opts options, files []string) func(name string) {
	show := len(files) > 1
	if f := opts.last("qv"); f != 0 {
		show = f == 'v'
	}
	first := true
	return func(name string) {
		if !show {
			return
		}
		if !first {
			p.out.WriteByte('\n')
		}
		first = false
		if name == "-" {
			name = "standard input"
		}
		fmt.Fprintf(p.out, "==> %s <==\n", name)
	}
}

func head(p *proc, args []string) error {
	opts, files, err := p.options(oldCount(args, "n"), "n:c:qvz", "lines=n bytes=c quiet=q silent=q verbose=v zero-terminated=z")
	if err != nil {
		return err
	}
	flag := max(opts.last("nc"), 'c')
	count, err := size(opts.value(flag, "10"))
	if opts.last("nc") == 0 {
		flag, count = 'n', 10
	}
	if err != nil {
		return err
	}
	header, end := p.headers(opts, files), lineEnd(opts)
	return p.each(files, func(name string, r io.Reader) error {
		header(name)
		switch {
		case count < 0 || strings.HasPrefix(opts.value(flag, ""), "-"):
			return p.allButLast(r, flag, -count, end)
		case flag == 'c':
			_, err := io.CopyN(p.out, r, count)
			if err == io.EOF {
				return nil
			}
			return err
		case count == 0:
			return nil
		}
		left := count
		return lines(r, end, func(line []byte, whole bool) error {
			p.line(line, whole, end)
			if left--; left == 0 {
				return errStop
			}
			return nil
		})
	})
}

// allButLast copies all but the last n bytes or lines.
func (p *proc) allButLast(r io.Reader, flag byte, n int64, end byte) error {
	if flag == 'c' {
		data, err := io.ReadAll(r)
		if int64(len(data)) > n {
			p.out.Write(data[:int64(len(data))-n])
		}
		return err
	}
	var held [][]byte
	return lines(r, end, func(line []byte, _ bool) error {
		held = append(held, bytes.Clone(line))
		if int64(len(held)) > n {
			p.line(held[0], true, end)
			held = held[1:]
		}
		return nil
	})
}

func lineEnd(opts options) byte {
	if opts.has('z') {
		return 0
	}
	return '\n'
}

func (p *proc) line(line []byte, whole bool, end byte) {
	p.out.Write(line)
	if whole {
		p.out.WriteByte(end)
	}
}

func tail(p *proc, args []string) error {
	if len(args) > 0 && strings.HasPrefix(args[0], "+") {
		args = append([]string{"-n", args[0]}, args[1:]...)
	}
	opts, files, err := p.options(oldCount(args, "n"), "n:c:qvz", "lines=n bytes=c quiet=q silent=q verbose=v zero-terminated=z")
	if err != nil {
		return err // -f is not offered: a step's files do not grow
	}
	flag := opts.last("nc")
	if flag == 0 {
		flag = 'n'
	}
	arg := opts.value(flag, "10")
	count, err := size(strings.TrimLeft(arg, "+-"))
	if err != nil {
		return err
	}
	header, end := p.headers(opts, files), lineEnd(opts)
	return p.each(files, func(name string, r io.Reader) error {
		header(name)
		switch {
		case flag == 'c' && arg[0] == '+':
			if _, err := io.CopyN(io.Discard, r, max(count-1, 0)); err != nil {
				return eofIsFine(err)
			}
			_, err := io.Copy(p.out, r)
			return err
		case flag == 'c':
			data, err := io.ReadAll(r)
			p.out.Write(data[max(0, int64(len(data))-count):])
			return err
		case arg[0] == '+':
			n := int64(0)
			return lines(r, end, func(line []byte, whole bool) error {
				if n++; n >= count {
					p.line(line, whole, end)
				}
				return nil
			})
		}
		return p.lastLines(r, count, end)
	})
}

func eofIsFine(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func (p *proc) lastLines(r io.Reader, count int64, end byte) error {
	type kept struct {
		line  []byte
		whole bool
	}
	var ring []kept
	n := int64(0)
	err := lines(r, end, func(line []byte, whole bool) error {
		if count > 0 && n < count {
			ring = append(ring, kept{bytes.Clone(line), whole})
		} else if count > 0 {
			k := &ring[n%count]
			k.line, k.whole = append(k.line[:0], line...), whole
		}
		n++
		return nil
	})
	for i := max(0, n-count); i < n; i++ {
		p.line(ring[i%count].line, ring[i%count].whole, end)
	}
	return err
}

func tee(p *proc, args []string) error {
	opts, files, err := p.options(args, "ai", "append=a ignore-interrupts=i")
	if err != nil {
		return err
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if opts.has('a') {
		flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	outs := []io.Writer{p.stdout}
	for _, name := range files {
		f, err := os.OpenFile(p.path(name), flags, 0o666)
		if err != nil {
			p.warn(about(name, err))
			continue
		}
		defer f.Close()
		outs = append(outs, f)
	}
	_, err = io.Copy(io.MultiWriter(outs...), p.stdin)
	return err
}

func rev(p *proc, args []string) error {
	_, files, err := p.options(args, "", "")
	if err != nil {
		return err
	}
	return p.each(files, func(_ string, r io.Reader) error {
		return lines(r, '\n', func(line []byte, whole bool) error {
			for len(line) > 0 {
				_, n := utf8.DecodeLastRune(line)
				p.out.Write(line[len(line)-n:])
				line = line[:len(line)-n]
			}
			p.line(nil, whole, '\n')
			return nil
		})
	})
}

func tac(p *proc, args []string) error {
	_, files, err := p.options(args, "", "")
	if err != nil {
		return err
	}
	return p.each(files, func(_ string, r io.Reader) error {
		data, err := io.ReadAll(r)
		for len(data) > 0 {
			i := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
			p.out.Write(data[i:])
			data = data[:i]
		}
		return err
	})
}

func fold(p *proc, args []string) error {
	opts, files, err := p.options(args, "w:sb", "width=w spaces=s bytes=b")
	if err != nil {
		return err
	}
	width, err := strconv.Atoi(opts.value('w', "80"))
	if err != nil || width < 1 {
		return fmt.Errorf("bad width %q", opts.value('w', ""))
	}
	return p.each(files, func(_ string, r io.Reader) error {
		return lines(r, '\n', func(line []byte, whole bool) error {
			for {
				cut := foldAt(line, width, opts.has('b'))
				if cut >= len(line) {
					break
				}
				if i := bytes.LastIndexAny(line[:cut], " \t"); opts.has('s') && i >= 0 {
					cut = i + 1
				}
				p.line(line[:cut], true, '\n')
				line = line[cut:]
			}
			p.line(line, whole, '\n')
			return nil
		})
	})
}

// foldAt returns how many bytes of line fit in width columns.
func foldAt(line []byte, width int, countBytes bool) int {
	if countBytes {
		return min(width, len(line))
	}
	column := 0
	for i := 0; i < len(line); {
		_, n := utf8.DecodeRune(line[i:])
		switch line[i] {
		case '\t':
			column = column/8*8 + 8
		case '\b':
			column = max(column-1, 0)
		case '\r':
			column = 0
		default:
			column++
		}
		if column > width && i > 0 {
			return i
		}
		i += n
	}
	return len(line)
}

func nl(p *proc, args []string) error {
	opts, files, err := p.options(args, "b:n:s:w:v:i:", "body-numbering=b number-format=n number-separator=s number-width=w starting-line-number=v line-increment=i")
	if err != nil {
		return err
	}
	formats := map[string]string{"ln": "%-*d", "rn": "%*d", "rz": "%0*d"}
	format, ok := formats[opts.value('n', "rn")]
	body := opts.value('b', "t")
	if !ok || body != "a" && body != "t" && body != "n" {
		return errors.New("want -b a, t or n and -n ln, rn or rz")
	}
	width, err1 := strconv.Atoi(opts.value('w', "6"))
	n, err2 := strconv.Atoi(opts.value('v', "1"))
	step, err3 := strconv.Atoi(opts.value('i', "1"))
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	sep := opts.value('s', "\t")
	return p.each(files, func(_ string, r io.Reader) error {
		return lines(r, '\n', func(line []byte, _ bool) error {
			if body == "a" || body == "t" && len(line) > 0 {
				fmt.Fprintf(p.out, format+"%s", width, n, sep)
				n += step
			} else {
				fmt.Fprintf(p.out, "%*s", width+len(sep), "")
			}
			p.line(line, true, '\n')
			return nil
		})
	})
}

func wc(p *proc, args []string) error {
	opts, files, err := p.options(args, "lwcmL", "lines=l words=w bytes=c chars=m max-line-length=L")
	if err != nil {
		return err
	}
	if opts.last("lwcmL") == 0 {
		opts = options{{flag: 'l'}, {flag: 'w'}, {flag: 'c'}}
	}
	type row struct {
		name   string
		counts map[byte]int64
	}
	var rows []row
	total := row{"total", map[byte]int64{}}
	err = p.each(files, func(name string, r io.Reader) error {
		counts, err := wordCount(r)
		if name == "-" && len(files) == 0 {
			name = ""
		}
		rows = append(rows, row{name, counts})
		for k, v := range counts {
			if total.counts[k] += v; k == 'L' {
				total.counts[k] = max(total.counts[k]-v, v)
			}
		}
		return err
	})
	if len(files) > 1 {
		rows = append(rows, total)
	}
	fields := 0
	for _, flag := range []byte("lwmcL") {
		if opts.has(flag) {
			fields++
		}
	}
	width := 1
	if len(rows) > 1 || fields > 1 {
		for _, v := range total.counts {
			width = max(width, len(strconv.FormatInt(v, 10)))
		}
		if len(files) == 0 {
			width = 7
		}
	}
	for _, row := range rows {
		sep := ""
		for _, flag := range []byte("lwmcL") {
			if opts.has(flag) {
				fmt.Fprintf(p.out, "%s%*d", sep, width, row.counts[flag])
				sep = " "
			}
		}
		if row.name != "" {
			p.out.WriteString(" " + row.name)
		}
		p.out.WriteByte('\n')
	}
	return err
}

// wordCount counts lines, words, bytes, characters and the longest line.
func wordCount(r io.Reader) (map[byte]int64, error) {
	var l, w, c, m, longest int64
	err := lines(r, '\n', func(line []byte, whole bool) error {
		c += int64(len(line))
		chars := int64(utf8.RuneCount(line))
		m += chars
		longest = max(longest, chars)
		if whole {
			l, c, m = l+1, c+1, m+1
		}
		inWord := false
		for _, b := range line {
			space := b == ' ' || b >= '\t' && b <= '\r'
			if !space && !inWord {
				w++
			}
			inWord = !space
		}
		return nil
	})
	return map[byte]int64{'l': l, 'w': w, 'c': c, 'm': m, 'L': longest}, err
}

func uniq(p *proc, args []string) error {
	opts, files, err := p.options(args, "cduif:s:w:z", "count=c repeated=d unique=u ignore-case=i skip-fields=f skip-chars=s check-chars=w zero-terminated=z")
	if err != nil {
		return err
	}
	var numbers [3]int
	for i, flag := range []byte("fsw") {
		if numbers[i], err = strconv.Atoi(opts.value(flag, "0")); err != nil {
			return err
		}
	}
	if len(files) > 2 {
		return fmt.Errorf("extra operand %s", files[2])
	}
	if len(files) == 2 && files[1] != "-" {
		out, err := os.Create(p.path(files[1]))
		if err != nil {
			return about(files[1], err)
		}
		defer out.Close()
		p.out.Reset(out)
	}
	end := lineEnd(opts)
	var prev, prevKey []byte
	n := 0
	flush := func() {
		if n == 0 || n == 1 && opts.has('d') || n > 1 && opts.has('u') {
			return
		}
		if opts.has('c') {
			fmt.Fprintf(p.out, "%7d ", n)
		}
		p.line(prev, true, end)
	}
	err = p.each(files[:min(1, len(files))], func(_ string, r io.Reader) error {
		return lines(r, end, func(line []byte, _ bool) error {
			key := uniqKey(line, numbers[0], numbers[1], numbers[2])
			if n > 0 && (bytes.Equal(key, prevKey) || opts.has('i') && bytes.EqualFold(key, prevKey)) {
				n++
				return nil
			}
			flush()
			prev, prevKey, n = bytes.Clone(line), bytes.Clone(key), 1
			return nil
		})
	})
	flush()
	return err
}

func uniqKey(line []byte, fields, chars, width int) []byte {
	for range fields {
		line = bytes.TrimLeft(line, " \t")
		i := bytes.IndexAny(line, " \t")
		if i < 0 {
			return nil
		}
		line = line[i:]
	}
	line = line[min(chars, len(line)):]
	if width > 0 {
		line = line[:min(width, len(line))]
	}
	return line
}

func yes(p *proc, args []string) error {
	word := "y"
	if len(args) > 0 {
		word = strings.Join(args, " ")
	}
	block := bytes.Repeat([]byte(word+"\n"), 1+8192/(len(word)+1))
	for p.ctx.Err() == nil {
		if _, err := p.stdout.Write(block); err != nil {
			return cause(err)
		}
	}
	return exit(143)
}

func seq(p *proc, args []string) error {
	var sep, format string
	sep = "\n"
	pad := false
	for len(args) > 1 && strings.HasPrefix(args[0], "-") && !isNumber(args[0]) {
		switch {
		case args[0] == "-w":
			pad = true
			args = args[1:]
		case args[0] == "-s" || args[0] == "-f":
			if args[0] == "-s" {
				sep = args[1]
			} else {
				format = args[1]
			}
			args = args[2:]
		default:
			return fmt.Errorf("unknown option %s", args[0])
		}
	}
	bounds := []string{"1", "1", ""}
	switch len(args) {
	case 1:
		bounds[2] = args[0]
	case 2:
		bounds[0], bounds[2] = args[0], args[1]
	case 3:
		bounds = args
	default:
		return errMissingOperand
	}
	places := 0
	var v [3]float64
	for i, s := range bounds {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", s)
		}
		v[i] = f
		if _, frac, ok := strings.Cut(s, "."); ok && i < 2 {
			places = max(places, len(frac))
		}
	}
	if v[1] == 0 {
		return errors.New("the step is zero")
	}
	if format == "" {
		format = "%." + strconv.Itoa(places) + "f"
		if pad {
			width := max(len(fmt.Sprintf(format, v[0])), len(fmt.Sprintf(format, v[2])))
			format = "%0" + strconv.Itoa(width) + "." + strconv.Itoa(places) + "f"
		}
	}
	format = strings.ReplaceAll(format, "%g", "%v")
	n := int64((v[2]-v[0])/v[1] + 1e-9)
	for i := int64(0); i <= n && (v[2]-v[0])/v[1] >= 0; i++ {
		if i > 0 {
			p.out.WriteString(sep)
		}
		fmt.Fprintf(p.out, format, v[0]+float64(i)*v[1])
	}
	if (v[2]-v[0])/v[1] >= 0 {
		p.out.WriteByte('\n')
	}
	return nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

func split(p *proc, args []string) error {
	opts, operands, err := p.options(args, "l:b:a:d", "lines=l bytes=b suffix-length=a numeric-suffixes=d")
	if err != nil {
		return err
	}
	operands = append(operands, []string{"-", "x"}[min(len(operands), 2):]...)
	count, err := size(opts.value(max(opts.last("lb"), 'a'), "1000"))
	if opts.last("lb") == 0 {
		count = 1000
	} else if err != nil || count < 1 {
		return fmt.Errorf("bad size %q", opts.value(opts.last("lb"), ""))
	}
	width, err := strconv.Atoi(opts.value('a', "2"))
	if err != nil || width < 1 {
		return fmt.Errorf("bad suffix length %q", opts.value('a', ""))
	}
	in, err := p.open(operands[0])
	if err != nil {
		return err
	}
	defer in.Close()
	data, err := io.ReadAll(in)
	if err != nil {
		return about(operands[0], err)
	}
	for n := 0; len(data) > 0; n++ {
		suffix, err := splitSuffix(n, width, opts.has('d'))
		if err != nil {
			return err
		}
		i := min(count, int64(len(data)))
		if opts.last("lb") != 'b' {
			i = int64(linesEnd(data, count))
		}
		name := operands[1] + suffix
		if err := os.WriteFile(p.path(name), data[:i], 0o666); err != nil {
			return about(name, err)
		}
		data = data[i:]
	}
	return nil
}

// linesEnd returns where the first n lines of data end.
func linesEnd(data []byte, n int64) int {
	end := 0
	for ; n > 0 && end < len(data); n-- {
		i := bytes.IndexByte(data[end:], '\n')
		if i < 0 {
			return len(data)
		}
		end += i + 1
	}
	return end
}

func splitSuffix(n, width int, digits bool) (string, error) {
	base, first := 26, byte('a')
	if digits {
		base, first = 10, '0'
	}
	suffix := make([]byte, width)
	for i := range suffix {
		suffix[i] = first + byte(n%base)
		n /= base
	}
	if n > 0 {
		return "", errors.New("suffixes are used up: use -a")
	}
	slices.Reverse(suffix)
	return string(suffix), nil
}
