package toolbox

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// A sortKey is what -k names: from a field and character to another, counted
// from 1, and how they compare.
type sortKey struct {
	fromField, fromChar int
	toField, toChar     int // toField 0: the end of the line; toChar 0: the end of the field
	flags               string
}

type sorter struct {
	keys  []sortKey
	delim string
	flags string // global: b d f i n h V r s u
}

const sortFlags = "bdfinhVrgM"

func sortApplet(p *proc, args []string) error {
	opts, files, err := p.options(args, "bdfinhVrsucCmzk:t:o:S:T:P:", "numeric-sort=n reverse=r unique=u key=k field-separator=t "+
		"output=o stable=s check=c merge=m ignore-case=f version-sort=V human-numeric-sort=h ignore-leading-blanks=b "+
		"dictionary-order=d zero-terminated=z ignore-nonprinting=i buffer-size=S temporary-directory=T parallel=P")
	if err != nil {
		return err
	}
	s := sorter{delim: strings.ReplaceAll(opts.value('t', ""), `\0`, "\x00")}
	if len(s.delim) > 1 {
		return fmt.Errorf("the separator %q is not a single byte", s.delim)
	}
	for _, o := range opts {
		if strings.IndexByte(sortFlags+"su", o.flag) >= 0 {
			s.flags += string(o.flag)
		}
	}
	for _, spec := range opts.all('k') {
		key, err := parseKey(spec)
		if err != nil {
			return fmt.Errorf("key %q: %w", spec, err)
		}
		s.keys = append(s.keys, key)
	}
	end := lineEnd(opts)
	var all [][]byte
	err = p.each(files, func(_ string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if len(data) > 0 {
			all = append(all, bytes.Split(bytes.TrimSuffix(data, []byte{end}), []byte{end})...)
		}
		return err
	})
	if err != nil || p.status != 0 {
		return cmp.Or(err, error(exit(p.status)))
	}
	if opts.last("cC") != 0 {
		return s.check(p, all, opts.last("cC") == 'c')
	}
	s.sort(all)
	if out := opts.value('o', ""); out != "" {
		f, err := os.Create(p.path(out))
		if err != nil {
			return about(out, err)
		}
		defer f.Close()
		p.out.Reset(f)
		defer p.out.Flush()
	}
	for i, line := range all {
		if i > 0 && strings.Contains(s.flags, "u") && s.compareKeys(all[i-1], line) == 0 {
			continue
		}
		p.line(line, true, end)
	}
	return nil
}

func (s *sorter) check(p *proc, all [][]byte, loud bool) error {
	limit := 0
	if strings.Contains(s.flags, "u") {
		limit = -1
	}
	for i := 1; i < len(all); i++ {
		if s.compare(all[i-1], all[i]) > limit {
			if loud {
				p.complain(fmt.Errorf("line %d is out of order: %s", i+1, all[i]))
			}
			return exit(1)
		}
	}
	return nil
}

func (s *sorter) sort(all [][]byte) {
	if len(s.keys) == 0 && strings.Trim(s.flags, "su") == "" {
		slices.SortFunc(all, bytes.Compare)
		return
	}
	slices.SortStableFunc(all, s.compare)
}

// compare orders lines; those whose keys are equal by their bytes, unless -s or
// -u asks for the order they came in.
func (s *sorter) compare(a, b []byte) int {
	if c := s.compareKeys(a, b); c != 0 {
		return c
	}
	if strings.ContainsAny(s.flags, "su") {
		return 0
	}
	c := bytes.Compare(a, b)
	if strings.Contains(s.flags, "r") {
		return -c
	}
	return c
}

func (s *sorter) compareKeys(a, b []byte) int {
	if len(s.keys) == 0 {
		return compareText(a, b, s.flags)
	}
	for _, key := range s.keys {
		flags := key.flags
		if flags == "" {
			flags = s.flags
		}
		if c := compareText(s.extract(a, key, flags), s.extract(b, key, flags), flags); c != 0 {
			return c
		}
	}
	return 0
}

func compareText(a, b []byte, flags string) int {
	c := 0
	if strings.Contains(flags, "b") {
		a, b = bytes.TrimLeft(a, " \t"), bytes.TrimLeft(b, " \t")
	}
	if strings.Contains(flags, "f") {
		a, b = bytes.ToUpper(a), bytes.ToUpper(b)
	}
	if strings.ContainsAny(flags, "di") {
		a, b = onlySorted(a, flags), onlySorted(b, flags)
	}
	switch {
	case strings.Contains(flags, "n"):
		c = compareNumbers(a, b)
	case strings.Contains(flags, "h"):
		c = compareHuman(a, b)
	case strings.Contains(flags, "V"):
		c = compareVersions(a, b)
	default:
		c = bytes.Compare(a, b)
	}
	if strings.Contains(flags, "r") {
		return -c
	}
	return c
}

// onlySorted drops what -d (all but letters, digits, blanks) or -i ignores.
func onlySorted(s []byte, flags string) []byte {
	dict := strings.Contains(flags, "d")
	out := make([]byte, 0, len(s))
	for _, c := range s {
		if dict && (isLetter(c) || c == ' ' || c == '\t') || !dict && c >= 32 && c < 127 {
			out = append(out, c)
		}
	}
	return out
}

// numberText splits a decimal number off the front of s: sign, digits before the point
// without leading zeros, digits after it without trailing ones.
func numberText(s []byte) (negative bool, whole, frac, rest []byte) {
	s = bytes.TrimLeft(s, " \t")
	if len(s) > 0 && s[0] == '-' {
		negative, s = true, s[1:]
	}
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	whole, rest = bytes.TrimLeft(s[:i], "0"), s[i:]
	if len(rest) > 0 && rest[0] == '.' {
		i = 1
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		frac, rest = bytes.TrimRight(rest[1:i], "0"), rest[i:]
	}
	if len(whole) == 0 && len(frac) == 0 {
		negative = false
	}
	return negative, whole, frac, rest
}

func compareNumbers(a, b []byte) int {
	an, aw, af, _ := numberText(a)
	bn, bw, bf, _ := numberText(b)
	if an != bn {
		if an {
			return -1
		}
		return 1
	}
	c := cmp.Or(cmp.Compare(len(aw), len(bw)), bytes.Compare(aw, bw), bytes.Compare(af, bf))
	if an {
		return -c
	}
	return c
}

func compareHuman(a, b []byte) int {
	unit := func(s []byte) int {
		_, _, _, rest := numberText(s)
		if len(rest) == 0 {
			return 0
		}
		return strings.IndexByte("_KMGTPEZY", bytes.ToUpper(rest[:1])[0])
	}
	an, _, _, _ := numberText(a)
	bn, _, _, _ := numberText(b)
	if c := cmp.Compare(max(unit(a), 0), max(unit(b), 0)); c != 0 && an == bn {
		if an {
			return -c
		}
		return c
	}
	return compareNumbers(a, b)
}

// compareVersions compares runs of digits as numbers and the rest as text.
func compareVersions(a, b []byte) int {
	x, y := a, b
	for len(x) > 0 && len(y) > 0 {
		nx, ny := versionRun(x), versionRun(y)
		c := 0
		if x[0] >= '0' && x[0] <= '9' && y[0] >= '0' && y[0] <= '9' {
			dx, dy := bytes.TrimLeft(x[:nx], "0"), bytes.TrimLeft(y[:ny], "0")
			c = cmp.Or(cmp.Compare(len(dx), len(dy)), bytes.Compare(dx, dy))
		} else {
			c = compareVersionText(x[:nx], y[:ny])
		}
		if c != 0 {
			return c
		}
		x, y = x[nx:], y[ny:]
	}
	if len(x) > 0 && x[0] == '~' {
		return -1
	}
	if len(y) > 0 && y[0] == '~' {
		return 1
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), bytes.Compare(a, b))
}

func versionRun(s []byte) int {
	digit := s[0] >= '0' && s[0] <= '9'
	for i, c := range s {
		if (c >= '0' && c <= '9') != digit {
			return i
		}
	}
	return len(s)
}

// compareVersionText orders '~' first, then the end, letters, and the rest.
func compareVersionText(a, b []byte) int {
	rank := func(s []byte, i int) int {
		switch {
		case i >= len(s):
			return 0
		case s[i] == '~':
			return -1
		case isLetter(s[i]):
			return int(s[i])
		}
		return int(s[i]) + 256
	}
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(rank(a, i), rank(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

// parseKey reads F[.C][FLAGS][,F[.C][FLAGS]].
func parseKey(spec string) (sortKey, error) {
	from, to, hasEnd := strings.Cut(spec, ",")
	k := sortKey{fromChar: 1}
	var err error
	if k.fromField, k.fromChar, err = k.position(from, 1); err != nil {
		return k, err
	}
	if k.fromField < 1 || k.fromChar < 1 {
		return k, errors.New("fields and characters count from 1")
	}
	if hasEnd {
		k.toField, k.toChar, err = k.position(to, 0)
		if err == nil && k.toField < 1 {
			err = errors.New("fields count from 1")
		}
	}
	return k, err
}

func (k *sortKey) position(s string, char int) (int, int, error) {
	i := strings.IndexAny(s, sortFlags)
	if i < 0 {
		i = len(s)
	}
	k.flags += s[i:]
	if strings.Trim(s[i:], "bdfinhVr") != "" {
		return 0, 0, fmt.Errorf("unknown flags %q", s[i:])
	}
	fieldText, charText, hasChar := strings.Cut(s[:i], ".")
	field, err := strconv.Atoi(fieldText)
	if err == nil && hasChar {
		char, err = strconv.Atoi(charText)
	}
	if err != nil {
		return 0, 0, errors.New("want FIELD[.CHARACTER]")
	}
	return field, char, nil
}

// extract returns the part of line that key names.
func (s *sorter) extract(line []byte, key sortKey, flags string) []byte {
	blanks := strings.Contains(flags, "b")
	start, _ := s.field(line, key.fromField)
	if blanks {
		start = skipBlanks(line, start)
	}
	start = min(start+key.fromChar-1, len(line))
	end := len(line)
	if key.toField > 0 {
		from, fieldEnd := s.field(line, key.toField)
		end = fieldEnd
		if key.toChar > 0 {
			if blanks {
				from = skipBlanks(line, from)
			}
			end = min(from+key.toChar, len(line))
		}
	}
	if end < start {
		return nil
	}
	return line[start:end]
}

func skipBlanks(line []byte, i int) int {
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	return i
}

// field returns where field n, counted from 1, starts and ends. Without a
// separator, a field starts with the blanks before it.
func (s *sorter) field(line []byte, n int) (int, int) {
	start, end := 0, 0
	for i := 1; ; i++ {
		if s.delim != "" {
			if j := bytes.IndexByte(line[start:], s.delim[0]); j >= 0 {
				end = start + j
			} else {
				end = len(line)
			}
		} else {
			end = skipBlanks(line, start)
			for end < len(line) && line[end] != ' ' && line[end] != '\t' {
				end++
			}
		}
		if i == n {
			return start, end
		}
		if end >= len(line) {
			return len(line), len(line)
		}
		start = end + len(s.delim)
	}
}
