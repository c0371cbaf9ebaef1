package toolbox

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A sedCommand is one command of a sed script.
type sedCommand struct {
	first, second *sedAddress
	negate        bool
	active        bool // within the range first,second
	until         int  // line the range ends at, for a second address that is a number
	name          byte
	text          string // of a i c; file of r w and of s///w; label of b t T :
	number        int    // s: which match; q Q: exit status
	global, print bool
	regex         sedRegex
	replacement   []sedPart
	replacer      *strings.Replacer // y
	jump          int               // index of the command to go on after
}

// A sedAddress selects lines.
type sedAddress struct {
	line  int // from 1; 0: see below
	last  bool
	regex *sedRegex
	step  int  // first~step
	plus  bool // addr,+N
	zero  bool // 0,/re/
	mult  bool // addr,~N
}

// A sedRegex is a pattern; the empty one stands for the last one used.
type sedRegex struct{ re *regexp.Regexp }

var errNoRegex = errors.New("no previous regular expression")

// get returns the pattern, or the last one that ran.
func (r *sedRegex) get(ed *sedEditor) (*regexp.Regexp, error) {
	if r.re != nil {
		ed.used = r.re
	}
	if ed.used == nil {
		return nil, errNoRegex
	}
	return ed.used, nil
}

// A sedPart is a piece of a replacement: text, or group n; or a case change.
type sedPart struct {
	text  string
	group int  // -1: text
	fold  byte // U L u l E, 0: none
}

func (c *sedCommand) matches(a *sedAddress, ed *sedEditor) bool {
	switch {
	case a.last:
		return !ed.in.ok
	case a.regex != nil:
		re, err := a.regex.get(ed)
		return err == nil && re.Match(ed.pattern)
	case a.step > 0:
		return ed.in.number >= a.line && (ed.in.number-a.line)%a.step == 0
	}
	return ed.in.number == a.line
}

func (c *sedCommand) selects(ed *sedEditor) bool {
	return c.inRange(ed) != c.negate
}

func (c *sedCommand) inRange(ed *sedEditor) bool {
	n := ed.in.number
	switch {
	case c.first == nil:
		return true
	case c.second == nil:
		return c.matches(c.first, ed)
	case c.active:
		if c.second.regex != nil || c.second.last {
			c.active = !c.matches(c.second, ed)
			return true
		}
		c.active = n < c.until
		return n <= c.until
	case c.first.zero && n == 1:
		c.active = !c.matches(c.second, ed)
		return true
	case c.first.zero || !c.matches(c.first, ed):
		return false
	}
	switch a := c.second; {
	case a.plus:
		c.until = n + a.line
	case a.mult:
		c.until = n
		if a.line > 0 {
			c.until = (n + a.line - 1) / a.line * a.line
		}
	default:
		c.until = a.line
	}
	c.active = c.second.regex != nil || c.second.last && ed.in.ok || c.until > n
	return true
}

// sedParser reads a script.
type sedParser struct {
	src      string
	pos      int
	extended bool
	commands []*sedCommand
	blocks   []int
}

func parseSed(script string, extended bool) ([]*sedCommand, error) {
	ps := &sedParser{src: script, extended: extended}
	for {
		ps.skip(" \t\n;")
		if ps.pos >= len(ps.src) {
			break
		}
		if err := ps.command(); err != nil {
			return nil, fmt.Errorf("script, character %d: %w", ps.pos+1, err)
		}
	}
	if len(ps.blocks) > 0 {
		return nil, errors.New("script: unmatched {")
	}
	return ps.commands, ps.link()
}

// link finds the labels that b, t and T name.
func (ps *sedParser) link() error {
	labels := map[string]int{"": len(ps.commands)}
	for i, c := range ps.commands {
		if c.name == ':' {
			labels[c.text] = i
		}
	}
	for _, c := range ps.commands {
		if strings.IndexByte("btT", c.name) >= 0 {
			to, ok := labels[c.text]
			if !ok {
				return fmt.Errorf("script: no label %q", c.text)
			}
			c.jump = to
		}
	}
	if len(ps.commands) == 0 {
		ps.commands = append(ps.commands, &sedCommand{name: '#'})
	}
	return nil
}

func (ps *sedParser) skip(chars string) {
	for ps.pos < len(ps.src) && strings.IndexByte(chars, ps.src[ps.pos]) >= 0 {
		ps.pos++
	}
}

func (ps *sedParser) peek() byte {
	if ps.pos < len(ps.src) {
		return ps.src[ps.pos]
	}
	return 0
}

func (ps *sedParser) command() error {
	c := &sedCommand{number: 1}
	var err error
	if c.first, err = ps.address(); err != nil {
		return err
	}
	ps.skip(" \t")
	if ps.peek() == ',' {
		if c.first == nil {
			return errors.New("a range needs a first address")
		}
		ps.pos++
		ps.skip(" \t")
		if c.second, err = ps.address(); err != nil {
			return err
		}
		if c.second == nil {
			return errors.New("a range needs a second address")
		}
	}
	if c.first != nil && c.first.zero && (c.second == nil || c.second.regex == nil) {
		return errors.New("line 0 needs a range that ends with a regular expression")
	}
	for ps.skip(" \t"); ps.peek() == '!'; ps.skip(" \t") {
		c.negate = true
		ps.pos++
	}
	c.name = ps.peek()
	if c.name == 0 {
		return errors.New("missing command")
	}
	ps.pos++
	ps.commands = append(ps.commands, c)
	return ps.arguments(c)
}

func (ps *sedParser) address() (*sedAddress, error) {
	c := ps.peek()
	switch {
	case c == '$':
		ps.pos++
		return &sedAddress{last: true}, nil
	case c >= '0' && c <= '9':
		a := &sedAddress{line: ps.int()}
		a.zero = a.line == 0
		if ps.peek() == '~' {
			ps.pos++
			a.step, a.zero = ps.int(), false
		}
		return a, nil
	case c == '+' || c == '~':
		ps.pos++
		return &sedAddress{plus: c == '+', mult: c == '~', line: ps.int()}, nil
	case c == '/' || c == '\\':
		ps.pos++
		delim := c
		if c == '\\' {
			delim = ps.peek()
			ps.pos++
		}
		pattern, err := ps.delimited(delim, true)
		if err != nil {
			return nil, err
		}
		flags := ""
		for ; ps.peek() == 'I' || ps.peek() == 'M'; ps.pos++ {
			flags += strings.ToLower(string(ps.peek()))
		}
		re, err := ps.regex(pattern, flags)
		return &sedAddress{regex: &re}, err
	}
	return nil, nil
}

func (ps *sedParser) int() int {
	start := ps.pos
	ps.skip("0123456789")
	n, _ := strconv.Atoi(ps.src[start:ps.pos])
	return n
}

func (ps *sedParser) regex(pattern, flags string) (sedRegex, error) {
	if pattern == "" {
		return sedRegex{}, nil
	}
	re, err := compileRegex(pattern, ps.extended, flags)
	return sedRegex{re}, err
}

// delimited reads up to an unescaped delim. An escaped delim loses its backslash;
// in a regular expression, delim within brackets does not end it.
func (ps *sedParser) delimited(delim byte, regex bool) (string, error) {
	var b strings.Builder
	for ps.pos < len(ps.src) {
		c := ps.src[ps.pos]
		switch {
		case c == delim:
			ps.pos++
			return b.String(), nil
		case c == '\\' && ps.pos+1 < len(ps.src):
			next := ps.src[ps.pos+1]
			if next != delim || delim == '\\' {
				b.WriteByte(c)
			} else if regex && strings.IndexByte(`.*[]^$+?(){}|`, delim) >= 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(next)
			ps.pos += 2
			continue
		case c == '[' && regex:
			if n := bracketLen(ps.src[ps.pos:]); n > 0 {
				b.WriteString(ps.src[ps.pos : ps.pos+n])
				ps.pos += n
				continue
			}
		case c == '\n' && regex:
			return "", errors.New("unterminated regular expression")
		}
		b.WriteByte(c)
		ps.pos++
	}
	return "", fmt.Errorf("missing %c", delim)
}

// bracketLen returns the length of the bracket expression that s starts with, 0 if
// it does not end.
func bracketLen(s string) int {
	i := 1
	if i < len(s) && s[i] == '^' {
		i++
	}
	if i < len(s) && s[i] == ']' {
		i++
	}
	for i < len(s) && s[i] != ']' && s[i] != '\n' {
		if s[i] == '[' && i+1 < len(s) && strings.IndexByte(":.=", s[i+1]) >= 0 {
			if j := strings.Index(s[i+2:], s[i+1:i+2]+"]"); j >= 0 {
				i += j + 4
				continue
			}
		}
		i++
	}
	if i >= len(s) || s[i] != ']' {
		return 0
	}
	return i + 1
}

// arguments reads what follows the name of a command.
func (ps *sedParser) arguments(c *sedCommand) error {
	var err error
	switch c.name {
	case '{':
		ps.blocks = append(ps.blocks, len(ps.commands)-1)
		return nil
	case '}':
		if len(ps.blocks) == 0 {
			return errors.New("unexpected }")
		}
		if c.first != nil {
			return errors.New("} takes no address")
		}
		open := ps.blocks[len(ps.blocks)-1]
		ps.blocks = ps.blocks[:len(ps.blocks)-1]
		ps.commands[open].jump = len(ps.commands) - 1
	case '#':
		ps.rest()
		return nil
	case ':', 'b', 't', 'T':
		ps.skip(" \t")
		stop := ";\n}"
		if c.name == ':' {
			stop = ";\n"
		}
		c.text = strings.TrimSpace(ps.until(stop))
		if c.name == ':' && c.text == "" {
			return errors.New("a label needs a name")
		}
	case 'a', 'i', 'c':
		c.text, err = ps.textBlock()
		return err
	case 'r', 'w':
		ps.skip(" \t")
		if c.text = ps.rest(); c.text == "" {
			return errors.New("missing file name")
		}
		return nil
	case 's':
		if err := ps.substitution(c); err != nil {
			return err
		}
	case 'y':
		if err := ps.transliteration(c); err != nil {
			return err
		}
	case 'q', 'Q':
		ps.skip(" \t")
		c.number = ps.int()
	case '=', 'd', 'D', 'g', 'G', 'h', 'H', 'l', 'n', 'N', 'p', 'P', 'x', 'z':
	default:
		return fmt.Errorf("unknown command %q", c.name)
	}
	ps.skip(" \t")
	if next := ps.peek(); next != 0 && strings.IndexByte(";\n}#", next) < 0 {
		return fmt.Errorf("extra characters after command %c", c.name)
	}
	return nil
}

func (ps *sedParser) until(stop string) string {
	start := ps.pos
	for ps.pos < len(ps.src) && strings.IndexByte(stop, ps.src[ps.pos]) < 0 {
		ps.pos++
	}
	return ps.src[start:ps.pos]
}

func (ps *sedParser) rest() string { return ps.until("\n") }

// textBlock reads the text of a, i and c: after a backslash and newline, or on
// the same line as GNU has it. A backslash at a line's end continues it.
func (ps *sedParser) textBlock() (string, error) {
	ps.skip(" \t")
	if strings.HasPrefix(ps.src[ps.pos:], "\\") {
		ps.pos++
		if rest := strings.TrimLeft(ps.src[ps.pos:], " \t"); strings.HasPrefix(rest, "\n") {
			ps.pos = len(ps.src) - len(rest) + 1
		}
	}
	if ps.pos >= len(ps.src) {
		return "", errors.New("missing text")
	}
	var b strings.Builder
	for ps.pos < len(ps.src) && ps.src[ps.pos] != '\n' {
		if ps.src[ps.pos] == '\\' && ps.pos+1 < len(ps.src) {
			ps.pos++
			if i := strings.IndexByte("tfv", ps.src[ps.pos]); i >= 0 {
				b.WriteByte("\t\f\v"[i])
				ps.pos++
				continue
			}
		}
		b.WriteByte(ps.src[ps.pos])
		ps.pos++
	}
	b.WriteByte('\n')
	return b.String(), nil
}

func (ps *sedParser) substitution(c *sedCommand) error {
	delim := ps.peek()
	if delim == 0 || delim == '\n' || delim == '\\' {
		return errors.New("s needs a delimiter")
	}
	ps.pos++
	pattern, err := ps.delimited(delim, true)
	if err != nil {
		return err
	}
	replacement, err := ps.delimited(delim, false)
	if err != nil {
		return err
	}
	flags := ""
flags:
	for ; ; ps.pos++ {
		switch f := ps.peek(); {
		case f == 'g':
			c.global = true
		case f == 'p':
			c.print = true
		case f == 'i' || f == 'I':
			flags += "i"
		case f == 'm' || f == 'M':
			flags += "m"
		case f >= '1' && f <= '9':
			c.number = ps.int()
			ps.pos--
		case f == 'w':
			ps.pos++
			ps.skip(" \t")
			c.text = ps.rest()
			break flags
		case f == 'e':
			return errors.New("flag e of s is not supported")
		default:
			break flags
		}
	}
	if c.regex, err = ps.regex(pattern, flags); err != nil {
		return err
	}
	c.replacement, err = sedReplacement(replacement)
	if err != nil {
		return err
	}
	for _, part := range c.replacement {
		if re := c.regex.re; re != nil && part.group > re.NumSubexp() {
			return fmt.Errorf(`no group for \%d`, part.group)
		}
	}
	return nil
}

func (ps *sedParser) transliteration(c *sedCommand) error {
	delim := ps.peek()
	ps.pos++
	from, err := ps.delimited(delim, false)
	if err != nil {
		return err
	}
	to, err := ps.delimited(delim, false)
	if err != nil {
		return err
	}
	unescape := strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t")
	a, b := []rune(unescape.Replace(from)), []rune(unescape.Replace(to))
	if len(a) != len(b) {
		return errors.New("the strings of y differ in length")
	}
	var pairs []string
	for i := range a {
		pairs = append(pairs, string(a[i]), string(b[i]))
	}
	c.replacer = strings.NewReplacer(pairs...)
	return nil
}

// sedReplacement splits a replacement into text, groups and case changes.
func sedReplacement(s string) ([]sedPart, error) {
	var parts []sedPart
	text := func(t string) {
		if n := len(parts); n > 0 && parts[n-1].group < 0 && parts[n-1].fold == 0 {
			parts[n-1].text += t
			return
		}
		parts = append(parts, sedPart{text: t, group: -1})
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '&':
			parts = append(parts, sedPart{group: 0})
		case s[i] == '\\' && i+1 < len(s):
			i++
			switch c := s[i]; {
			case c >= '0' && c <= '9':
				parts = append(parts, sedPart{group: int(c - '0')})
			case strings.IndexByte("ULulE", c) >= 0:
				parts = append(parts, sedPart{group: -1, fold: c})
			case strings.IndexByte("nrtfva", c) >= 0:
				text(string("\n\r\t\f\v\a"[strings.IndexByte("nrtfva", c)]))
			case isLetter(c):
				return nil, fmt.Errorf(`unknown escape \%c in a replacement`, c)
			default:
				text(string(c))
			}
		default:
			text(s[i : i+1])
		}
	}
	return parts, nil
}

// expand appends the replacement for the match m of src to out.
func (c *sedCommand) expand(out, src []byte, m []int) []byte {
	var fold, once byte
	for _, part := range c.replacement {
		switch part.fold {
		case 'U', 'L':
			fold = part.fold
			continue
		case 'E':
			fold = 0
			continue
		case 'u', 'l':
			once = part.fold
			continue
		}
		text := part.text
		if part.group >= 0 && 2*part.group < len(m) && m[2*part.group] >= 0 {
			text = string(src[m[2*part.group]:m[2*part.group+1]])
		}
		text = foldCase(text, fold)
		if once != 0 && text != "" {
			_, n := utf8.DecodeRuneInString(text)
			text = foldCase(text[:n], once-'a'+'A') + text[n:]
			once = 0
		}
		out = append(out, text...)
	}
	return out
}

func foldCase(s string, fold byte) string {
	switch fold {
	case 'U':
		return strings.ToUpper(s)
	case 'L':
		return strings.ToLower(s)
	}
	return s
}
