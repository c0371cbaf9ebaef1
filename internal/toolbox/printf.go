package toolbox

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A printer is one call of printf.
type printer struct {
	p    *proc
	args []string
	used bool // an argument was taken in this round
	stop bool // \c was met
}

// printf writes its arguments by a format, which is used again while arguments are left.
func printf(p *proc, args []string) error {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return errMissingOperand
	}
	pr := &printer{p: p, args: args[1:]}
	for {
		pr.used = false
		if err := pr.round(args[0]); err != nil {
			return err
		}
		if pr.stop || len(pr.args) == 0 || !pr.used {
			return nil
		}
	}
}

// echo writes its arguments. As in bash, escapes are text unless there is -e. The
// interpreter's own echo would not notice that a disk is full.
func echo(p *proc, args []string) error {
	newline, escapes := true, false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "neE") == "" {
		newline = newline && !strings.Contains(args[0], "n")
		if i := strings.LastIndexAny(args[0], "eE"); i > 0 {
			escapes = args[0][i] == 'e'
		}
		args = args[1:]
	}
	text := strings.Join(args, " ")
	for escapes && text != "" {
		plain := strings.IndexByte(text, '\\')
		if plain < 0 {
			break
		}
		p.out.WriteString(text[:plain])
		char, n, stop := escapeAt(text[plain:], true)
		if stop {
			return nil
		}
		p.out.WriteString(char)
		text = text[plain+n:]
	}
	p.out.WriteString(text)
	if newline {
		p.out.WriteByte('\n')
	}
	return nil
}

func (pr *printer) next() (string, bool) {
	pr.used = true
	if len(pr.args) == 0 {
		return "", false
	}
	arg := pr.args[0]
	pr.args = pr.args[1:]
	return arg, true
}

func (pr *printer) round(format string) error {
	for i := 0; i < len(format) && !pr.stop; {
		switch {
		case format[i] == '\\':
			text, n, stop := escapeAt(format[i:], false)
			pr.p.out.WriteString(text)
			pr.stop = stop
			i += n
		case format[i] == '%' && i+1 < len(format) && format[i+1] == '%':
			pr.p.out.WriteByte('%')
			i += 2
		case format[i] == '%':
			n, err := pr.conversion(format[i:])
			if err != nil {
				return err
			}
			i += n
		default:
			pr.p.out.WriteByte(format[i])
			i++
		}
	}
	return nil
}

// conversion handles what begins with % and returns its length.
func (pr *printer) conversion(format string) (int, error) {
	spec := "%"
	i := 1
	for ; i < len(format) && strings.IndexByte("-+ #0", format[i]) >= 0; i++ {
		spec += format[i : i+1]
	}
	for ; i < len(format) && strings.IndexByte("0123456789.*", format[i]) >= 0; i++ {
		if format[i] == '*' {
			arg, _ := pr.next()
			spec += strconv.Itoa(int(pr.integer(arg)))
		} else {
			spec += format[i : i+1]
		}
	}
	if i == len(format) {
		return 0, fmt.Errorf("%s: missing conversion", format)
	}
	out, c := pr.p.out, format[i]
	arg, given := pr.next()
	switch c {
	case 's':
		fmt.Fprintf(out, spec+"s", arg)
	case 'b':
		text := ""
		for j := 0; j < len(arg) && !pr.stop; {
			if arg[j] != '\\' {
				text += arg[j : j+1]
				j++
				continue
			}
			part, n, stop := escapeAt(arg[j:], true)
			text += part
			pr.stop = stop
			j += n
		}
		fmt.Fprintf(out, spec+"s", text)
	case 'q':
		fmt.Fprintf(out, spec+"s", shellQuote(arg))
	case 'c':
		_, n := utf8.DecodeRuneInString(arg)
		fmt.Fprintf(out, spec+"s", arg[:n])
	case 'd', 'i':
		pr.number(spec, "d", pr.integer(arg))
	case 'o', 'x', 'X':
		pr.number(spec, string(c), uint64(pr.integer(arg)))
	case 'u':
		pr.number(spec, "d", uint64(pr.integer(arg)))
	case 'e', 'E', 'f', 'F', 'g', 'G':
		f, err := strconv.ParseFloat(strings.TrimSpace(arg), 64)
		if err != nil && given {
			f = pr.bad(arg)
		}
		if (c == 'g' || c == 'G') && !strings.Contains(spec, ".") {
			spec += ".6"
		}
		fmt.Fprintf(out, spec+string(c), f)
	default:
		return 0, fmt.Errorf("%s: unknown conversion", format[:i+1])
	}
	return i + 1, nil
}

// number prints an integer; a precision is a number of digits and turns the flag 0 off.
func (pr *printer) number(spec, verb string, v any) {
	if strings.Contains(spec, ".") {
		flags := strings.TrimLeft(spec, "%-+ #0")
		head := spec[:len(spec)-len(flags)]
		spec = strings.ReplaceAll(head, "0", "") + flags
	}
	fmt.Fprintf(pr.p.out, spec+verb, v)
}

func (pr *printer) bad(arg string) float64 {
	pr.p.warn(fmt.Errorf("%s: not a number", arg))
	return 0
}

// integer reads a number as C writes it, or 'c for a character's code.
func (pr *printer) integer(arg string) int64 {
	arg = strings.TrimLeft(arg, " \t")
	if arg == "" {
		return 0
	}
	if arg[0] == '\'' || arg[0] == '"' {
		r, _ := utf8.DecodeRuneInString(arg[1:])
		return int64(r)
	}
	if n, err := strconv.ParseInt(arg, 0, 64); err == nil && !strings.Contains(arg, "_") {
		return n
	}
	if n, err := strconv.ParseUint(arg, 0, 64); err == nil {
		return int64(n)
	}
	return int64(pr.bad(arg))
}

// escapeAt reads the escape that s starts with. In an argument of %b, octal
// numbers begin with a 0 that does not count as a digit.
func escapeAt(s string, argument bool) (text string, n int, stop bool) {
	if len(s) < 2 {
		return s, 1, false
	}
	c := s[1]
	if i := strings.IndexByte(`abfnrtv\"'e`, c); i >= 0 {
		return string("\a\b\f\n\r\t\v\\\"'\x1b"[i]), 2, false
	}
	switch {
	case c == 'c':
		return "", 2, true
	case c == 'x' || c == 'u' || c == 'U':
		limit := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		end := 2
		for end < len(s) && end < 2+limit && strings.IndexByte("0123456789abcdefABCDEF", s[end]) >= 0 {
			end++
		}
		v, err := strconv.ParseUint(s[2:end], 16, 32)
		if err != nil {
			return s[:2], 2, false
		}
		if c == 'x' {
			return string([]byte{byte(v)}), end, false
		}
		return string(rune(v)), end, false
	case c >= '0' && c <= '7':
		start := 1
		if argument && c == '0' {
			start = 2
		}
		end := start
		for end < len(s) && end < start+3 && s[end] >= '0' && s[end] <= '7' {
			end++
		}
		v, _ := strconv.ParseUint("0"+s[start:end], 8, 16)
		return string([]byte{byte(v)}), end, false
	}
	return s[:2], 2, false
}

func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
