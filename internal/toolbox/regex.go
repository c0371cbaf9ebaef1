package toolbox

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// compileRegex compiles a POSIX basic or extended regular expression, with the
// GNU escapes \w \s \b \< \> \+ \? \|. flags are those of Go's (?flags). Matches
// are the leftmost longest, as POSIX asks. Back-references are refused: the
// engine, Go's, runs in linear time and has none.
func compileRegex(pattern string, extended bool, flags string) (*regexp.Regexp, error) {
	t := translator{src: pattern, extended: extended}
	if err := t.translate(); err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", pattern, err)
	}
	re, err := regexp.Compile("(?s" + flags + ")" + t.out.String())
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", pattern, err)
	}
	re.Longest()
	return re, nil
}

type translator struct {
	src      string
	pos      int
	extended bool
	out      strings.Builder
	depth    int
	start    bool // at the start of an expression, where BRE takes * and ^ otherwise
}

func (t *translator) translate() error {
	t.start = true
	for t.pos < len(t.src) {
		c := t.src[t.pos]
		start := t.start
		t.start = false
		switch {
		case c == '\\':
			if err := t.escape(); err != nil {
				return err
			}
		case c == '[':
			if err := t.bracket(); err != nil {
				return err
			}
		case c == '^':
			t.caret(start)
		case c == '$':
			t.dollar()
		case c == '*':
			t.pos++
			if start {
				t.out.WriteString(`\*`)
			} else {
				t.repeat("*")
			}
		case t.extended && strings.IndexByte("+?(){|", c) >= 0:
			if err := t.operator(c, start); err != nil {
				return err
			}
		default:
			_, n := utf8.DecodeRuneInString(t.src[t.pos:])
			t.out.WriteString(quoteLiteral(t.src[t.pos : t.pos+n]))
			t.pos += n
		}
	}
	if t.depth > 0 {
		return fmt.Errorf("unmatched (")
	}
	return nil
}

// quoteLiteral quotes one character, but not the dot.
func quoteLiteral(s string) string {
	if s == "." {
		return s
	}
	return regexp.QuoteMeta(s)
}

func (t *translator) caret(start bool) {
	t.pos++
	if start || t.extended {
		t.out.WriteByte('^')
		t.start = true
		return
	}
	t.out.WriteString(`\^`)
}

func (t *translator) dollar() {
	t.pos++
	rest := t.src[t.pos:]
	if rest == "" || t.extended || strings.HasPrefix(rest, `\)`) || strings.HasPrefix(rest, `\|`) {
		t.out.WriteByte('$')
		return
	}
	t.out.WriteString(`\$`)
}

// repeat writes a repetition; one after another is nested, as Go wants it.
func (t *translator) repeat(op string) {
	out := t.out.String()
	if out != "" && strings.IndexByte("*+?}", out[len(out)-1]) >= 0 && !strings.HasSuffix(out, `\`+out[len(out)-1:]) {
		if op == "*" && strings.HasSuffix(out, "*") {
			return
		}
		t.out.Reset()
		t.out.WriteString(wrapLast(out))
	}
	t.out.WriteString(op)
}

// wrapLast puts the last repeated atom of out into a group. It only knows atoms
// of one character; others are left for the engine to refuse.
func wrapLast(out string) string {
	if n := len(out); n >= 2 && isLetter(out[n-2]) && (n == 2 || out[n-3] != '\\') {
		return out[:n-2] + "(?:" + out[n-2:] + ")"
	}
	return out
}

// operator handles the operators that BRE writes with a backslash.
func (t *translator) operator(c byte, start bool) error {
	t.pos++
	switch c {
	case '(':
		t.depth++
		t.out.WriteByte('(')
		t.start = true
	case ')':
		if t.depth == 0 {
			if t.extended {
				t.out.WriteString(`\)`)
				return nil
			}
			return fmt.Errorf(`unmatched \)`)
		}
		t.depth--
		t.out.WriteByte(')')
	case '|':
		t.out.WriteByte('|')
		t.start = true
	case '{':
		return t.interval(start)
	default:
		if start {
			t.out.WriteString(regexp.QuoteMeta(string(c)))
		} else {
			t.repeat(string(c))
		}
	}
	return nil
}

// interval handles {m}, {m,}, {,n} and {m,n} after its opening brace.
func (t *translator) interval(start bool) error {
	end := "}"
	if !t.extended {
		end = `\}`
	}
	body, rest, ok := strings.Cut(t.src[t.pos:], end)
	valid := ok && body != "" && body != "," && strings.Trim(body, "0123456789,") == "" && strings.Count(body, ",") <= 1
	if !valid || start {
		if t.extended {
			t.out.WriteString(`\{`)
			return nil
		}
		return fmt.Errorf(`bad interval \{%s`, body)
	}
	if body[0] == ',' {
		body = "0" + body
	}
	t.repeat("{" + body + "}")
	t.pos = len(t.src) - len(rest)
	return nil
}

func (t *translator) escape() error {
	if t.pos+1 == len(t.src) {
		return fmt.Errorf("trailing backslash")
	}
	c := t.src[t.pos+1]
	if !t.extended && strings.IndexByte("+?(){|", c) >= 0 {
		t.pos++
		return t.operator(c, t.src[:t.pos-1] == "" || strings.HasSuffix(t.src[:t.pos-1], `\(`) || strings.HasSuffix(t.src[:t.pos-1], `\|`))
	}
	t.pos += 2
	switch {
	case strings.IndexByte("wWsSbB", c) >= 0:
		t.out.WriteString(`\` + string(c))
	case c == '<' || c == '>':
		t.out.WriteString(`\b`)
	case c == '`':
		t.out.WriteString(`\A`)
	case c == '\'':
		t.out.WriteString(`\z`)
	case strings.IndexByte("nrtfva", c) >= 0:
		t.out.WriteString(`\` + string(c))
	case c >= '1' && c <= '9':
		return fmt.Errorf(`back-reference \%c is not supported`, c)
	case isLetter(c):
		return fmt.Errorf(`unknown escape \%c`, c)
	default:
		t.pos--
		_, n := utf8.DecodeRuneInString(t.src[t.pos:])
		t.out.WriteString(regexp.QuoteMeta(t.src[t.pos : t.pos+n]))
		t.pos += n
	}
	return nil
}

// bracket handles a bracket expression: a backslash in it is literal, except in
// \n, \t, \] and \\ as GNU sed has it.
func (t *translator) bracket() error {
	i := t.pos + 1
	t.out.WriteByte('[')
	if i < len(t.src) && t.src[i] == '^' {
		t.out.WriteByte('^')
		i++
	}
	for first := true; ; first = false {
		if i >= len(t.src) {
			return fmt.Errorf("unmatched [")
		}
		c := t.src[i]
		switch {
		case c == ']' && !first:
			t.out.WriteByte(']')
			t.pos = i + 1
			return nil
		case c == '[' && i+1 < len(t.src) && strings.IndexByte(":.=", t.src[i+1]) >= 0:
			n, err := t.class(t.src[i:])
			if err != nil {
				return err
			}
			i += n
			continue
		case c == '\\' && i+1 < len(t.src) && (t.src[i+1] == 'n' || t.src[i+1] == 't'):
			t.out.WriteString(t.src[i : i+2])
			i += 2
			continue
		case strings.IndexByte(`\[]^&~`, c) >= 0:
			t.out.WriteByte('\\')
		case c == '-' && (first || i+1 < len(t.src) && t.src[i+1] == ']'):
			t.out.WriteByte('\\')
		}
		t.out.WriteByte(c)
		i++
	}
}

// class writes [:name:], [=c=] or [.c.] and returns its length.
func (t *translator) class(s string) (int, error) {
	end := strings.Index(s[2:], s[1:2]+"]")
	if end < 0 {
		return 0, fmt.Errorf("unmatched [%c", s[1])
	}
	name := s[2 : 2+end]
	if s[1] == ':' {
		t.out.WriteString("[:" + name + ":]")
	} else {
		t.out.WriteString(regexp.QuoteMeta(name))
	}
	return end + 4, nil
}
