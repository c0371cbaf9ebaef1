package toolbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// od dumps bytes: od [-A d|o|x|n] [-t TYPE]... [-bcdox] [-v] [-N COUNT] [-j SKIP] [-w[WIDTH]].
func od(p *proc, args []string) error {
	opts, files, err := p.options(args, "A:t:vN:j:w:bcdoxaiz", "address-radix=A format=t output-duplicates=v read-bytes=N skip-bytes=j width=w")
	if err != nil {
		return err
	}
	var formats []odFormat
	old := map[byte]string{'b': "o1", 'c': "c", 'd': "u2", 'o': "o2", 'x': "x2", 'a': "a", 'i': "d4"}
	for _, o := range opts {
		spec := old[o.flag]
		if o.flag == 't' {
			spec = o.value
		}
		if spec == "" {
			continue
		}
		f, err := parseOdFormat(spec)
		if err != nil {
			return err
		}
		formats = append(formats, f...)
	}
	if formats == nil {
		formats = []odFormat{{kind: 'o', size: 2}}
	}
	data, err := p.slurp(files, opts)
	if err != nil {
		return err
	}
	width, err := strconv.Atoi(opts.value('w', "16"))
	if err != nil || width < 1 {
		return errors.New("bad width")
	}
	radix := opts.value('A', "o")
	if len(radix) != 1 || !strings.Contains("doxn", radix) {
		return fmt.Errorf("bad address radix %q", radix)
	}
	skip, _ := size(opts.value('j', "0"))
	address := func(i int) string {
		switch radix {
		case "n":
			return ""
		case "d":
			return fmt.Sprintf("%07d", i)
		case "x":
			return fmt.Sprintf("%06x", i)
		}
		return fmt.Sprintf("%07o", i)
	}
	prev, starred := "", false
	for i := 0; i < len(data); i += width {
		row := data[i:min(i+width, len(data))]
		if !opts.has('v') && i > 0 && string(row) == prev && len(row) == width {
			if !starred {
				p.out.WriteString("*\n")
			}
			starred = true
			continue
		}
		prev, starred = string(row), false
		for n, f := range formats {
			head := address(i + int(skip))
			if n > 0 {
				head = strings.Repeat(" ", len(head))
			}
			cells := f.row(row)
			if f.text {
				full := len(f.row(make([]byte, width)))
				cells = fmt.Sprintf("%-*s  >%s<", full, cells, printable(row))
			}
			p.out.WriteString(head + cells + "\n")
		}
	}
	if radix != "n" {
		p.out.WriteString(address(len(data)+int(skip)) + "\n")
	}
	return nil
}

// slurp reads all files, less what -j skips and -N leaves.
func (p *proc) slurp(files []string, opts options) ([]byte, error) {
	var data []byte
	err := p.each(files, func(_ string, r io.Reader) error {
		part, err := io.ReadAll(r)
		data = append(data, part...)
		return err
	})
	if err != nil {
		return nil, err
	}
	skip, err := size(opts.value('j', "0"))
	if err != nil {
		return nil, err
	}
	if skip > int64(len(data)) {
		return nil, errors.New("cannot skip past the end of the input")
	}
	data = data[skip:]
	if n := opts.value('N', ""); n != "" {
		limit, err := size(n)
		if err != nil {
			return nil, err
		}
		data = data[:min(limit, int64(len(data)))]
	}
	return data, nil
}

// An odFormat is one type of -t: a kind of a c d o u x f, the bytes of a number, and
// whether the row is also shown as text.
type odFormat struct {
	kind byte
	size int
	text bool
}

func parseOdFormat(spec string) ([]odFormat, error) {
	var formats []odFormat
	for i := 0; i < len(spec); {
		f := odFormat{kind: spec[i], size: 4}
		i++
		if strings.IndexByte("acdouxf", f.kind) < 0 {
			return nil, fmt.Errorf("unknown type %q", spec)
		}
		if f.kind == 'a' || f.kind == 'c' {
			f.size = 1
		} else if f.kind == 'f' {
			f.size = 8
		}
		if i < len(spec) {
			if n := strings.IndexByte("CSILFD", spec[i]); n >= 0 {
				f.size = []int{1, 2, 4, 8, 4, 8}[n]
				i++
			} else if n := strings.IndexByte("1248", spec[i]); n >= 0 {
				f.size = int(spec[i] - '0')
				i++
			}
		}
		if i < len(spec) && spec[i] == 'z' {
			f.text = true
			i++
		}
		formats = append(formats, f)
	}
	return formats, nil
}

func (f odFormat) row(data []byte) string {
	var b strings.Builder
	for i := 0; i < len(data); i += f.size {
		var raw [8]byte
		copy(raw[:], data[i:min(i+f.size, len(data))])
		b.WriteString(f.cell(binary.LittleEndian.Uint64(raw[:])))
	}
	return b.String()
}

// odWidth returns the columns of a number, by kind and size in bytes.
func odWidth(kind byte, size int) int {
	widths := map[byte][4]int{'o': {3, 6, 11, 22}, 'x': {2, 4, 8, 16}, 'u': {3, 5, 10, 20}, 'd': {4, 6, 11, 20}}
	return widths[kind][bits.TrailingZeros(uint(size))]
}

func (f odFormat) cell(v uint64) string {
	switch f.kind {
	case 'c', 'a':
		return fmt.Sprintf(" %3s", odChar(byte(v), f.kind))
	case 'o':
		return fmt.Sprintf(" %0*o", odWidth('o', f.size), v)
	case 'x':
		return fmt.Sprintf(" %0*x", odWidth('x', f.size), v)
	case 'u':
		return fmt.Sprintf(" %*d", odWidth('u', f.size), v)
	case 'f':
		if f.size == 4 {
			return fmt.Sprintf(" %15.8g", math.Float32frombits(uint32(v)))
		}
		return fmt.Sprintf(" %24.17g", math.Float64frombits(v))
	}
	shift := 64 - 8*f.size
	return fmt.Sprintf(" %*d", odWidth('d', f.size), int64(v<<shift)>>shift)
}

func odChar(c, kind byte) string {
	if kind == 'a' {
		names := strings.Fields("nul soh stx etx eot enq ack bel bs ht nl vt ff cr so si dle dc1 dc2 dc3 dc4 nak syn etb can em sub esc fs gs rs us sp")
		if c &= 127; int(c) < len(names) {
			return names[c]
		}
		if c == 127 {
			return "del"
		}
		return string(rune(c))
	}
	if i := strings.IndexByte("\x00\a\b\t\n\v\f\r", c); i >= 0 {
		return `\` + "0abtnvfr"[i:i+1]
	}
	if c < 32 || c > 126 {
		return fmt.Sprintf("%03o", c)
	}
	return string(rune(c))
}

// hexdump dumps bytes: hexdump [-C] [-v] [-n COUNT] [-s SKIP] [FILE]...
func hexdump(p *proc, args []string) error {
	opts, files, err := p.options(args, "Cvn:s:", "canonical=C no-squeezing=v length=n skip=s")
	if err != nil {
		return err
	}
	for i := range opts { // -n and -s are od's -N and -j
		switch opts[i].flag {
		case 'n':
			opts[i].flag = 'N'
		case 's':
			opts[i].flag = 'j'
		}
	}
	data, err := p.slurp(files, opts)
	if err != nil {
		return err
	}
	skip, _ := size(opts.value('j', "0"))
	format, width := "%07x", 4
	if opts.has('C') {
		format, width = "%08x", 2
	}
	prev, starred := "", false
	for i := 0; i < len(data); i += 16 {
		row := data[i:min(i+16, len(data))]
		if !opts.has('v') && i > 0 && string(row) == prev && len(row) == 16 {
			if !starred {
				p.out.WriteString("*\n")
			}
			starred = true
			continue
		}
		prev, starred = string(row), false
		fmt.Fprintf(p.out, format, i+int(skip))
		if width == 4 {
			fmt.Fprintf(p.out, "%-40s\n", odFormat{kind: 'x', size: 2}.row(row))
			continue
		}
		cells := odFormat{kind: 'x', size: 1}.row(row)
		if len(row) > 8 {
			cells = cells[:24] + " " + cells[24:]
		}
		fmt.Fprintf(p.out, " %-49s  |%s|\n", cells, printable(row))
	}
	if len(data) > 0 {
		fmt.Fprintf(p.out, format+"\n", len(data)+int(skip))
	}
	return nil
}

// printable shows every byte that is no printable ASCII as a dot.
func printable(row []byte) string {
	text := []byte(string(row))
	for i, c := range text {
		if c < 32 || c > 126 {
			text[i] = '.'
		}
	}
	return string(text)
}
