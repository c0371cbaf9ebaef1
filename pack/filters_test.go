package pack

import (
	"strings"
	"testing"
)

func TestFilters(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"uid=keep", "uid=keep"},
		{"mtime=keep,uid=5", "uid=5,mtime=keep"},
		{"mtime=2010-01-01T00:00:00Z", "mtime=@1262304000"},
		{"mtime=2010-01-01T01:00:00+01:00", "mtime=@1262304000"},
		{"mtime=@-5", "mtime=@-5"},
		{"mtime=2010-01-01T00:00:00.5Z", "mtime=2010-01-01T00:00:00.5Z"},
		{"dev=ignore,setid=keep,sticky=ignore,gid=0", "gid=0,sticky=ignore,setid=keep,dev=ignore"},
	} {
		f, err := ParseFilters(c.in)
		if err != nil || f.String() != c.want {
			t.Errorf("%q: got %q, %v; want %q", c.in, f, err, c.want)
		}
	}
	for in, want := range map[string]string{
		"uid":            "want key=value",
		"uid=":           "want keep, or a number",
		"uid=-1":         "want keep, or a number",
		"uid=4294967295": "want keep, or a number",
		"uid=follow":     "want keep, or a number",
		"uid=mine":       "want keep, or a number",
		"uid=1,uid=1":    "twice",
		"user=1":         `unknown key "user"`,
		"mtime=now":      "@SECONDS",
		"mtime=2010":     "@SECONDS",
		"sticky=reject":  "want keep, ignore",
		"dev=follow":     "want keep, ignore, reject",
		"uid=1,":         "want key=value",
		"uid=1, gid=1":   `unknown key " gid"`,
	} {
		if _, err := ParseFilters(in); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), in) {
			t.Errorf("%q: got %v, want %s", in, err, want)
		}
	}
	f, err := ParseUnpackFilters("uid=mine,gid=follow,mtime=now,sticky=follow,dev=ignore")
	if err != nil || f.String() != "uid=mine,gid=follow,mtime=now,sticky=follow,dev=ignore" {
		t.Errorf("unpack: %q, %v", f, err)
	}
	if _, err := ParseUnpackFilters("uid=keep"); err == nil || !strings.Contains(err.Error(), "follow, mine") {
		t.Errorf("unpack: %v", err)
	}
}

func TestPresets(t *testing.T) {
	for want, f := range map[string]Filters{
		"uid=0,gid=0,mtime=@1262304000,sticky=keep,setid=reject,dev=reject":        DefaultFilters(),
		"uid=1000,gid=1000,mtime=@1262304000,sticky=keep,setid=reject,dev=reject":  RioPackFilters(),
		"uid=mine,gid=mine,mtime=follow,sticky=follow,setid=reject,dev=reject":     RioUnpackFilters(),
		"uid=follow,gid=follow,mtime=follow,sticky=follow,setid=reject,dev=reject": RioScanFilters(),
		"uid=keep,gid=keep,mtime=keep,sticky=keep,setid=keep,dev=keep":             KeepFilters(),
	} {
		if f.String() != want {
			t.Errorf("got %s, want %s", f, want)
		}
	}
}

func FuzzFilters(f *testing.F) {
	for _, s := range []string{"", "uid=keep,mtime=@0", "mtime=2010-01-01T00:00:00.5Z,dev=keep", "uid=07"} {
		f.Add(s, false)
	}
	f.Add("uid=mine,mtime=now", true)
	f.Fuzz(func(t *testing.T, s string, unpack bool) {
		parse := ParseFilters
		if unpack {
			parse = ParseUnpackFilters
		}
		a, err := parse(s)
		if err != nil {
			return
		}
		b, err := parse(a.String())
		if err != nil || a != b {
			t.Errorf("%q is written %q, which is %v, %v", s, a, b, err)
		}
	})
}

func TestOwnersOnly(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "uid=5": true, "uid=mine,gid=follow,mtime=follow,sticky=follow,setid=follow,dev=follow": true,
		"mtime=now": false, "mtime=@5": false, "sticky=ignore": false, "setid=reject": false, "dev=ignore": false,
	} {
		f, err := ParseUnpackFilters(text)
		must(t, err)
		if f.OwnersOnly() != want {
			t.Errorf("%q: got %t", text, !want)
		}
	}
}
