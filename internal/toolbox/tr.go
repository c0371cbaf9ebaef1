package toolbox

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// tr maps, squeezes or deletes characters: tr [-cds] SET1 [SET2].
func tr(p *proc, args []string) error {
	opts, sets, err := p.options(args, "+cCdst", "complement=c delete=d squeeze-repeats=s truncate-set1=t")
	if err != nil {
		return err
	}
	del, squeeze, complement := opts.has('d'), opts.has('s'), opts.last("cC") != 0
	want := 2
	if del != squeeze {
		want = 1
	}
	if len(sets) < want || len(sets) > 2 || del && !squeeze && len(sets) != 1 {
		return errors.New("wrong number of sets")
	}
	first, err := expandSet(sets[0], 0)
	if err != nil {
		return err
	}
	var second []rune
	if len(sets) == 2 {
		if second, err = expandSet(sets[1], len(first)); err != nil {
			return err
		}
		if len(second) == 0 {
			return errors.New("the second set is empty")
		}
	}
	if opts.has('t') {
		first = first[:min(len(first), len(second))]
	}
	isFirst, isSecond := members(first), members(second)
	in := func(r rune) bool { return isFirst(r) != complement }
	var last rune = -1
	emit := func(r rune, raw []byte) {
		if squeeze && r == last {
			if len(sets) == 2 && isSecond(r) || len(sets) == 1 && in(r) {
				return
			}
		}
		last = r
		if raw != nil {
			p.out.Write(raw)
		} else {
			p.out.WriteRune(r)
		}
	}
	table := map[rune]rune{}
	for i, r := range first {
		if len(second) > 0 {
			table[r] = second[min(i, len(second)-1)]
		}
	}
	br := bufio.NewReaderSize(p.stdin, 32<<10)
	for {
		r, n, err := br.ReadRune()
		if err != nil {
			return eofIsFine(err)
		}
		var raw []byte
		if r == utf8.RuneError && n == 1 { // a byte that is no UTF-8 stays as it is
			br.UnreadRune()
			b, _ := br.ReadByte()
			r, raw = rune(b)|1<<24, []byte{b}
		}
		switch {
		case del:
			if !in(r) {
				emit(r, raw)
			}
		case len(sets) == 2 && in(r):
			if complement {
				emit(second[len(second)-1], nil)
			} else {
				emit(table[r], nil)
			}
		default:
			emit(r, raw)
		}
	}
}

// members answers quickly whether a set has a character.
func members(set []rune) func(rune) bool {
	var low [256]bool
	high := map[rune]bool{}
	for _, r := range set {
		if r < 256 {
			low[r] = true
		} else {
			high[r] = true
		}
	}
	return func(r rune) bool {
		if r < 256 {
			return low[r]
		}
		return high[r]
	}
}

// expandSet expands ranges, classes, escapes and [c*n] of a set. length is what
// [c*] fills up to.
func expandSet(s string, length int) ([]rune, error) {
	var set []rune
	src := []rune(s)
	for i := 0; i < len(src); {
		rest := string(src[i:])
		switch {
		case strings.HasPrefix(rest, "[:"):
			name, _, ok := strings.Cut(rest[2:], ":]")
			class, err := classRunes(name)
			if !ok || err != nil {
				return nil, fmt.Errorf("set %q: unknown class", s)
			}
			set = append(set, class...)
			i += len([]rune(name)) + 4
			continue
		case strings.HasPrefix(rest, "[=") && len(src) >= i+5 && src[i+3] == '=':
			set = append(set, src[i+2])
			i += 5
			continue
		}
		if c, n, fill, ok := repeatItem(src[i:]); ok {
			if fill < 0 {
				fill = length - len(set)
			}
			for range fill {
				set = append(set, c)
			}
			i += n
			continue
		}
		c, n, err := setChar(src[i:])
		if err != nil {
			return nil, err
		}
		i += n
		if i+1 < len(src) && src[i] == '-' {
			to, n, err := setChar(src[i+1:])
			if err != nil {
				return nil, err
			}
			if to < c {
				return nil, fmt.Errorf("set %q: range runs backwards", s)
			}
			for ; c <= to; c++ {
				set = append(set, c)
			}
			i += 1 + n
			continue
		}
		set = append(set, c)
	}
	return set, nil
}

// repeatItem reads [c*n] or [c*]; fill is -1 for the latter.
func repeatItem(src []rune) (c rune, n, fill int, ok bool) {
	if len(src) < 4 || src[0] != '[' {
		return
	}
	c, used, err := setChar(src[1:])
	if err != nil || len(src) < used+3 || src[1+used] != '*' {
		return 0, 0, 0, false
	}
	i := used + 2
	digits := i
	for i < len(src) && src[i] >= '0' && src[i] <= '9' {
		fill = fill*10 + int(src[i]-'0')
		i++
	}
	if i >= len(src) || src[i] != ']' {
		return 0, 0, 0, false
	}
	if i == digits || fill == 0 {
		fill = -1
	}
	return c, i + 1, fill, true
}

// setChar reads one character, which may be an escape.
func setChar(src []rune) (rune, int, error) {
	if src[0] != '\\' || len(src) == 1 {
		return src[0], 1, nil
	}
	if src[1] >= '0' && src[1] <= '7' {
		n, i := rune(0), 1
		for ; i < len(src) && i < 4 && src[i] >= '0' && src[i] <= '7'; i++ {
			n = n*8 + src[i] - '0'
		}
		return n, i, nil
	}
	if i := strings.IndexRune(`abfnrtv\`, src[1]); i >= 0 {
		return rune("\a\b\f\n\r\t\v\\"[i]), 2, nil
	}
	return src[1], 2, nil
}

var posixClasses = sync.OnceValue(func() map[string]func(rune) bool {
	return map[string]func(rune) bool{
		"alpha": unicode.IsLetter, "digit": unicode.IsDigit, "upper": unicode.IsUpper, "lower": unicode.IsLower,
		"alnum": func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) },
		"space": unicode.IsSpace, "blank": func(r rune) bool { return r == ' ' || r == '\t' },
		"punct": func(r rune) bool { return unicode.IsPunct(r) || unicode.IsSymbol(r) },
		"cntrl": unicode.IsControl, "print": unicode.IsPrint, "graph": unicode.IsGraphic,
		"xdigit": func(r rune) bool { return unicode.Is(unicode.ASCII_Hex_Digit, r) },
	}
})

// classRunes lists the ASCII characters of a class, as in the C locale.
func classRunes(name string) ([]rune, error) {
	is, ok := posixClasses()[name]
	if !ok {
		return nil, errors.New("unknown class")
	}
	var set []rune
	for r := rune(0); r < 128; r++ {
		if is(r) && !(name == "graph" && r == ' ') {
			set = append(set, r)
		}
	}
	return set, nil
}
