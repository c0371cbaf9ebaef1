package pack

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Filters say what of a fileset's metadata counts. The zero value says nothing;
// DefaultFilters says everything. It is comparable.
type Filters struct {
	uid, gid           idFilter
	mtime              mtimeFilter
	sticky, setid, dev rule
	unpack             bool // written in the words of unpacking
}

// A rule is what to do with one property.
type rule uint8

const (
	unset  rule = iota
	keep        // as it is; "follow" when unpacking
	set         // uid, gid, mtime: to the value given
	mine        // uid, gid: the caller's own
	now         // mtime: the present
	ignore      // sticky, setid: clear the bits; dev: leave the entry out
	reject      // setid, dev: an error
)

type idFilter struct {
	rule rule
	id   uint32
}

type mtimeFilter struct {
	rule rule
	sec  int64 // since 1970, UTC
	nsec uint32
}

// defaultTime is 2010-01-01T00:00:00Z, the mtime rio gives to what it packs.
const defaultTime = 1262304000

// DefaultFilters are those of step outputs: owner 0:0, every mtime
// 2010-01-01T00:00:00Z, setid bits and devices rejected, sticky bits kept.
func DefaultFilters() Filters {
	return Filters{
		uid: idFilter{rule: set}, gid: idFilter{rule: set},
		mtime:  mtimeFilter{rule: set, sec: defaultTime},
		sticky: keep, setid: reject, dev: reject,
	}
}

// RioPackFilters are the defaults of `rio pack`: as DefaultFilters, but owned by
// 1000:1000.
func RioPackFilters() Filters {
	f := DefaultFilters()
	f.uid.id, f.gid.id = 1000, 1000
	return f
}

// RioUnpackFilters are the defaults of `rio unpack`.
func RioUnpackFilters() Filters {
	f := RioScanFilters()
	f.uid.rule, f.gid.rule = mine, mine
	return f
}

// RioScanFilters are the defaults of `rio scan`: everything as it is.
func RioScanFilters() Filters {
	return Filters{
		uid: idFilter{rule: keep}, gid: idFilter{rule: keep}, mtime: mtimeFilter{rule: keep},
		sticky: keep, setid: reject, dev: reject, unpack: true,
	}
}

// KeepFilters keep everything, setid bits and devices too.
func KeepFilters() Filters {
	f := RioScanFilters()
	f.setid, f.dev, f.unpack = keep, keep, false
	return f
}

// words are the rules each key takes, by how they are written.
type words map[string]map[string]rule

var (
	packWords = words{
		"uid": {"keep": keep}, "gid": {"keep": keep}, "mtime": {"keep": keep},
		"sticky": {"keep": keep, "ignore": ignore},
		"setid":  {"keep": keep, "ignore": ignore, "reject": reject},
		"dev":    {"keep": keep, "ignore": ignore, "reject": reject},
	}
	unpackWords = words{
		"uid": {"follow": keep, "mine": mine}, "gid": {"follow": keep, "mine": mine},
		"mtime":  {"follow": keep, "now": now},
		"sticky": {"follow": keep, "ignore": ignore},
		"setid":  {"follow": keep, "ignore": ignore, "reject": reject},
		"dev":    {"follow": keep, "ignore": ignore, "reject": reject},
	}
	filterKeys = []string{"uid", "gid", "mtime", "sticky", "setid", "dev"}
)

// ParseFilters reads pack filters, such as "uid=keep,mtime=@1262304000"; what it
// does not name stays unset. An empty string sets nothing.
func ParseFilters(s string) (Filters, error) { return parseFilters(s, packWords, false) }

// ParseUnpackFilters reads unpack filters, such as "uid=mine,mtime=follow".
func ParseUnpackFilters(s string) (Filters, error) { return parseFilters(s, unpackWords, true) }

func parseFilters(s string, known words, unpack bool) (Filters, error) {
	f := Filters{unpack: unpack}
	if s == "" {
		return f, nil
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return Filters{}, fmt.Errorf("filters %q: %q: want key=value", s, part)
		}
		if known[key] == nil {
			return Filters{}, fmt.Errorf("filters %q: unknown key %q: want one of %s", s, key, strings.Join(filterKeys, ", "))
		}
		if seen[key] {
			return Filters{}, fmt.Errorf("filters %q: %s is set twice", s, key)
		}
		seen[key] = true
		if err := f.set(key, value, known[key][value]); err != nil {
			return Filters{}, fmt.Errorf("filters %q: %w", s, err)
		}
	}
	return f, nil
}

// set sets one key to a rule, or if that is unset, to what value spells out.
func (f *Filters) set(key, value string, r rule) error {
	switch key {
	case "uid", "gid":
		id := &f.uid
		if key == "gid" {
			id = &f.gid
		}
		if r != unset {
			id.rule = r
			return nil
		}
		// 2^32-1 is no id: chown takes it for "leave it".
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || n == 1<<32-1 {
			return fmt.Errorf("%s=%s: want %s, or a number", key, value, f.choices(key))
		}
		*id = idFilter{rule: set, id: uint32(n)}
	case "mtime":
		if r != unset {
			f.mtime.rule = r
			return nil
		}
		sec, nsec, err := parseTime(value)
		if err != nil {
			return fmt.Errorf("mtime=%s: want %s, @SECONDS or a date such as 2010-01-01T00:00:00Z", value, f.choices(key))
		}
		f.mtime = mtimeFilter{rule: set, sec: sec, nsec: nsec}
	default:
		if r == unset {
			return fmt.Errorf("%s=%s: want %s", key, value, f.choices(key))
		}
		*map[string]*rule{"sticky": &f.sticky, "setid": &f.setid, "dev": &f.dev}[key] = r
	}
	return nil
}

func parseTime(value string) (sec int64, nsec uint32, err error) {
	if unix, ok := strings.CutPrefix(value, "@"); ok {
		sec, err = strconv.ParseInt(unix, 10, 64)
		return sec, 0, err
	}
	t, err := time.Parse(time.RFC3339Nano, value)
	return t.Unix(), uint32(t.Nanosecond()), err
}

// choices lists the words a key takes.
func (f *Filters) choices(key string) string {
	names := []string{"keep", "follow", "mine", "now", "ignore", "reject"}
	known := packWords
	if f.unpack {
		known = unpackWords
	}
	var out []string
	for _, name := range names {
		if known[key][name] != unset {
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}

// Over returns f with what is unset in it taken from base.
func (f Filters) Over(base Filters) Filters {
	if f.uid.rule == unset {
		f.uid = base.uid
	}
	if f.gid.rule == unset {
		f.gid = base.gid
	}
	if f.mtime.rule == unset {
		f.mtime = base.mtime
	}
	for _, r := range []struct {
		of   *rule
		base rule
	}{{&f.sticky, base.sticky}, {&f.setid, base.setid}, {&f.dev, base.dev}} {
		if *r.of == unset {
			*r.of = r.base
		}
	}
	return f
}

// OwnersOnly reports whether f changes nothing but owners, which are not on disk, and
// rejects nothing.
func (f Filters) OwnersOnly() bool {
	for _, r := range []rule{f.mtime.rule, f.sticky, f.setid, f.dev} {
		if r != unset && r != keep {
			return false
		}
	}
	return true
}

// String writes f in the canonical form: keys in a fixed order, times as seconds.
// Parsing it gives f again.
func (f Filters) String() string {
	var parts []string
	add := func(key string, r rule, value string) {
		switch {
		case r == unset:
			return
		case r == keep && f.unpack:
			value = "follow"
		case r != set:
			value = map[rule]string{keep: "keep", mine: "mine", now: "now", ignore: "ignore", reject: "reject"}[r]
		}
		parts = append(parts, key+"="+value)
	}
	add("uid", f.uid.rule, strconv.FormatUint(uint64(f.uid.id), 10))
	add("gid", f.gid.rule, strconv.FormatUint(uint64(f.gid.id), 10))
	mtime := "@" + strconv.FormatInt(f.mtime.sec, 10)
	if f.mtime.nsec != 0 {
		mtime = time.Unix(f.mtime.sec, int64(f.mtime.nsec)).UTC().Format(time.RFC3339Nano)
	}
	add("mtime", f.mtime.rule, mtime)
	add("sticky", f.sticky, "")
	add("setid", f.setid, "")
	add("dev", f.dev, "")
	return strings.Join(parts, ",")
}
