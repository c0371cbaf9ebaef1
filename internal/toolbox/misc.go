package toolbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func trueApplet(*proc, []string) error  { return nil }
func falseApplet(*proc, []string) error { return exit(1) }

// compileGo compiles an expression in Go's own syntax.
func compileGo(expr string) (*regexp.Regexp, error) { return regexp.Compile(expr) }

// randomName returns n random letters and digits.
func randomName(n int) string {
	return (rand.Text() + rand.Text())[:min(n, 52)]
}

func basename(p *proc, args []string) error {
	opts, names, err := p.options(args, "+as:z", "multiple=a suffix=s zero=z")
	if err != nil {
		return err
	}
	suffix := opts.value('s', "")
	if opts.last("as") == 0 && len(names) == 2 {
		suffix, names = names[1], names[:1]
	} else if opts.last("as") == 0 && len(names) != 1 {
		return errMissingOperand
	}
	for _, name := range names {
		base := path.Base(name)
		if base != suffix {
			base = strings.TrimSuffix(base, suffix)
		}
		p.line([]byte(base), true, lineEnd(opts))
	}
	return nil
}

func dirname(p *proc, args []string) error {
	opts, names, err := p.options(args, "z", "zero=z")
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errMissingOperand
	}
	for _, name := range names {
		dir := strings.TrimRight(name, "/")
		switch i := strings.LastIndexByte(dir, '/'); {
		case dir == "" && name != "":
			dir = "/"
		case i < 0:
			dir = "."
		default:
			if dir = strings.TrimRight(dir[:i], "/"); dir == "" {
				dir = "/"
			}
		}
		p.line([]byte(dir), true, lineEnd(opts))
	}
	return nil
}

func pwd(p *proc, args []string) error {
	opts, _, err := p.options(args, "LP", "logical=L physical=P")
	if err != nil {
		return err
	}
	dir := p.dir
	if opts.last("LP") != 'L' {
		if dir, err = filepath.EvalSymlinks(p.dir); err != nil {
			return cause(err)
		}
	}
	fmt.Fprintln(p.out, dir)
	return nil
}

func readlink(p *proc, args []string) error {
	opts, names, err := p.options(args, "fnemqsz", "canonicalize=f canonicalize-existing=e canonicalize-missing=m no-newline=n zero=z quiet=q silent=s")
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errMissingOperand
	}
	for _, name := range names {
		var target string
		if mode := opts.last("fem"); mode != 0 {
			target, err = p.canonical(name, mode)
		} else {
			target, err = os.Readlink(p.path(name))
		}
		if err != nil {
			p.status = 1
			continue
		}
		p.line([]byte(target), !opts.has('n') || len(names) > 1, lineEnd(opts))
	}
	return nil
}

// canonical resolves symlinks: all of the name must exist in mode e, all but the last
// element in mode f, nothing in mode m.
func (p *proc) canonical(name string, mode byte) (string, error) {
	full := p.path(name)
	if real, err := filepath.EvalSymlinks(full); err == nil || mode == 'e' {
		return real, cause(err)
	}
	full = filepath.Clean(full)
	if target, err := os.Readlink(full); err == nil { // a link to what does not exist
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(full), target)
		}
		return p.canonical(target, mode)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(full))
	if err != nil {
		if mode == 'm' && full != "/" {
			dir, err = p.canonical(filepath.Dir(full), mode)
		}
		if err != nil {
			return "", cause(err)
		}
	}
	return filepath.Join(dir, filepath.Base(full)), nil
}

func realpath(p *proc, args []string) error {
	opts, names, err := p.options(args, "emsqz1:", "canonicalize-existing=e canonicalize-missing=m no-symlinks=s strip=s quiet=q zero=z relative-to=1")
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	for _, name := range names {
		mode := max(opts.last("em"), 'f'-1)
		if opts.last("em") == 0 {
			mode = 'f'
		}
		target, err := p.canonical(name, mode)
		if opts.has('s') {
			target, err = filepath.Clean(p.path(name)), nil
		}
		if base := opts.value('1', ""); base != "" && err == nil {
			if base, err = p.canonical(base, 'm'); err == nil {
				target, err = filepath.Rel(base, target)
			}
		}
		if err != nil {
			if opts.has('q') {
				p.status = 1
			} else {
				p.warn(about(name, err))
			}
			continue
		}
		p.line([]byte(target), true, lineEnd(opts))
	}
	return nil
}

func uname(p *proc, args []string) error {
	opts, _, err := p.options(args, "asnrvmpio", "all=a kernel-name=s nodename=n kernel-release=r kernel-version=v machine=m operating-system=o")
	if err != nil {
		return err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	text := func(b [65]byte) string { return unix.ByteSliceToString(b[:]) }
	fields := []struct {
		flag  byte
		value string
	}{
		{'s', text(u.Sysname)}, {'n', text(u.Nodename)}, {'r', text(u.Release)}, {'v', text(u.Version)}, {'m', text(u.Machine)},
		{'p', "unknown"}, {'i', "unknown"}, {'o', "GNU/Linux"},
	}
	var out []string
	for _, f := range fields {
		if opts.has(f.flag) || opts.has('a') && f.flag != 'p' && f.flag != 'i' || len(opts) == 0 && f.flag == 's' {
			out = append(out, f.value)
		}
	}
	fmt.Fprintln(p.out, strings.Join(out, " "))
	return nil
}

func hostname(p *proc, args []string) error {
	opts, names, err := p.options(args, "s", "short=s")
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return errors.New("the host name cannot be set")
	}
	name, err := os.Hostname()
	if opts.has('s') {
		name, _, _ = strings.Cut(name, ".")
	}
	fmt.Fprintln(p.out, name)
	return err
}

func whoami(p *proc, _ []string) error {
	fmt.Fprintln(p.out, lookupName("/etc/passwd", uint32(os.Geteuid())))
	return nil
}

func id(p *proc, args []string) error {
	opts, names, err := p.options(args, "ugGnr", "user=u group=g groups=G name=n real=r")
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return errors.New("other users are not supported")
	}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	if opts.has('r') {
		uid, gid = uint32(os.Getuid()), uint32(os.Getgid())
	}
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	show := func(file string, n uint32) string {
		if opts.has('n') {
			return lookupName(file, n)
		}
		return strconv.Itoa(int(n))
	}
	switch opts.last("ugG") {
	case 'u':
		fmt.Fprintln(p.out, show("/etc/passwd", uid))
	case 'g':
		fmt.Fprintln(p.out, show("/etc/group", gid))
	case 'G':
		list := []string{show("/etc/group", gid)}
		for _, g := range groups {
			if uint32(g) != gid {
				list = append(list, show("/etc/group", uint32(g)))
			}
		}
		fmt.Fprintln(p.out, strings.Join(list, " "))
	default:
		named := func(file string, n uint32) string {
			if name := lookupName(file, n); name != strconv.Itoa(int(n)) {
				return fmt.Sprintf("%d(%s)", n, name)
			}
			return strconv.Itoa(int(n))
		}
		list := []string{named("/etc/group", gid)}
		for _, g := range groups {
			if uint32(g) != gid {
				list = append(list, named("/etc/group", uint32(g)))
			}
		}
		fmt.Fprintf(p.out, "uid=%s gid=%s groups=%s\n", named("/etc/passwd", uid), named("/etc/group", gid), strings.Join(list, ","))
	}
	return nil
}

func nproc(p *proc, args []string) error {
	_, _, err := p.options(args, "a", "all=a")
	fmt.Fprintln(p.out, runtime.NumCPU())
	return err
}

func date(p *proc, args []string) error {
	opts, operands, err := p.options(args, "ud:r:RI:", "utc=u universal=u date=d reference=r rfc-email=R iso-8601=I")
	if err != nil {
		return err
	}
	when := time.Now()
	switch opts.last("dr") {
	case 'd':
		if when, err = p.parseDate(opts.value('d', "")); err != nil {
			return err
		}
	case 'r':
		fi, err := os.Stat(p.path(opts.value('r', "")))
		if err != nil {
			return cause(err)
		}
		when = fi.ModTime()
	}
	if when = when.In(p.zone()); opts.has('u') {
		when = when.UTC()
	}
	format := "%a %b %e %H:%M:%S %Z %Y"
	switch {
	case opts.has('R'):
		format = "%a, %d %b %Y %H:%M:%S %z"
	case opts.has('I'):
		formats := map[string]string{"date": "%Y-%m-%d", "seconds": "%Y-%m-%dT%H:%M:%S%:z", "s": "%Y-%m-%dT%H:%M:%S%:z"}
		if format = formats[opts.value('I', "")]; format == "" {
			return errors.New("-I wants date or seconds")
		}
	}
	if len(operands) > 1 || len(operands) == 1 && !strings.HasPrefix(operands[0], "+") {
		return errors.New("the clock cannot be set")
	}
	if len(operands) == 1 {
		format = operands[0][1:]
	}
	text, err := strftime(format, when)
	if err != nil {
		return err
	}
	fmt.Fprintln(p.out, text)
	return nil
}

func (p *proc) zone() *time.Location {
	tz := p.getenv("TZ")
	if tz == "" {
		return time.Local
	}
	if loc, err := time.LoadLocation(tz); err == nil {
		return loc
	}
	return time.UTC
}

// strftime formats a time as strftime(3) in the C locale.
func strftime(format string, t time.Time) (string, error) {
	var b strings.Builder
	layouts := map[byte]string{
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'F': "2006-01-02", 'D': "01/02/06", 'H': "15",
		'I': "03", 'j': "002", 'm': "01", 'M': "04", 'p': "PM", 'P': "pm", 'R': "15:04", 'S': "05", 'T': "15:04:05", 'y': "06", 'Y': "2006", 'z': "-0700",
		'Z': "MST", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05", 'r': "03:04:05 PM",
	}
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		c := format[i]
		trim := c == '-'
		if trim && i+1 < len(format) {
			i++
			c = format[i]
		}
		text, err := "", error(nil)
		year, week := t.ISOWeek()
		switch layout := layouts[c]; {
		case layout != "":
			text = t.Format(layout)
		case c == '%':
			text = "%"
		case c == 'n':
			text = "\n"
		case c == 't':
			text = "\t"
		case c == 's':
			text = strconv.FormatInt(t.Unix(), 10)
		case c == 'N':
			text = fmt.Sprintf("%09d", t.Nanosecond())
		case c == 'u':
			text = strconv.Itoa((int(t.Weekday())+6)%7 + 1)
		case c == 'w':
			text = strconv.Itoa(int(t.Weekday()))
		case c == 'C':
			text = fmt.Sprintf("%02d", t.Year()/100)
		case c == 'G':
			text = strconv.Itoa(year)
		case c == 'V':
			text = fmt.Sprintf("%02d", week)
		case c == 'k':
			text = fmt.Sprintf("%2d", t.Hour())
		case c == ':' && i+1 < len(format) && format[i+1] == 'z':
			i++
			text = t.Format("-07:00")
		default:
			err = fmt.Errorf("unknown format %%%c", c)
		}
		if err != nil {
			return "", err
		}
		if trim {
			if text = strings.TrimLeft(text, "0 "); text == "" {
				text = "0"
			}
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// parseDate reads @SECONDS, ISO and RFC forms, "now", "today", "yesterday" and
// "N days|hours|minutes|seconds|weeks [ago]".
func (p *proc) parseDate(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	if n, ok := strings.CutPrefix(s, "@"); ok {
		f, err := strconv.ParseFloat(n, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("bad date %q", s)
		}
		return time.Unix(int64(f), int64((f-float64(int64(f)))*1e9)), nil
	}
	zone := p.zone()
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05Z07:00",
		"2006-01-02 15:04:05 MST", "2006-01-02 15:04", "2006-01-02", "20060102", time.RFC1123Z, time.RFC1123, "2 Jan 2006 15:04:05", "2 Jan 2006", "Jan 2 2006", "Mon Jan _2 15:04:05 MST 2006",
	} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, nil
		}
	}
	now := time.Now().In(zone)
	switch s {
	case "now", "":
		return now, nil
	case "today":
		return now, nil
	case "yesterday":
		return now.AddDate(0, 0, -1), nil
	case "tomorrow":
		return now.AddDate(0, 0, 1), nil
	}
	words := strings.Fields(s)
	if len(words) == 3 && words[2] == "ago" {
		words = []string{"-" + strings.TrimPrefix(words[0], "+"), words[1]}
	}
	units := map[string]time.Duration{"second": time.Second, "sec": time.Second, "minute": time.Minute, "min": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour}
	if len(words) == 2 {
		n, err := strconv.Atoi(words[0])
		if unit := units[strings.TrimSuffix(words[1], "s")]; err == nil && unit > 0 {
			return now.Add(time.Duration(n) * unit), nil
		}
	}
	return time.Time{}, fmt.Errorf("bad date %q", s)
}

// parseStamp reads [[CC]YY]MMDDhhmm[.ss], as touch -t has it.
func (p *proc) parseStamp(s string) (time.Time, error) {
	layouts := map[int]string{12: "200601021504", 10: "0601021504", 8: "01021504", 15: "200601021504.05", 13: "0601021504.05", 11: "01021504.05"}
	t, err := time.ParseInLocation(layouts[len(s)], s, p.zone())
	if err != nil || layouts[len(s)] == "" {
		return t, fmt.Errorf("bad time %q", s)
	}
	if t.Year() == 0 {
		t = t.AddDate(time.Now().Year(), 0, 0)
	}
	return t, nil
}
