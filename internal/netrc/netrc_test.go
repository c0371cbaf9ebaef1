package netrc

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLookup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netrc")
	err := os.WriteFile(path, []byte(`# comment machine h.example password no
machine h.example login me password secret
machine other.example
  login you
  account x
  password theirs
macdef init
machine macro.example password no

machine none.example login nobody
default login anonymous password guest
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NETRC", path)
	for host, want := range map[string][2]string{
		"h.example": {"me", "secret"}, "other.example": {"you", "theirs"},
		"macro.example": {"anonymous", "guest"}, "sub.h.example": {"anonymous", "guest"},
	} {
		if name, password, ok := Lookup(host); !ok || [2]string{name, password} != want {
			t.Errorf("%s: %q %q %v", host, name, password, ok)
		}
	}
	t.Setenv("NETRC", path+".gone")
	if _, _, ok := Lookup("h.example"); ok {
		t.Error("found in a file that is not there")
	}
}

func TestSearch(t *testing.T) {
	text := "# machine c login no password no\nmachine a login x password y\nmacdef m\nmachine b login no password no\n\nmachine b account q login u password v\ndefault login d password e\n"
	for host, want := range map[string]string{"a": "x y", "b": "u v", "c": "d e"} {
		name, password, ok := search(text, host)
		if got := name + " " + password; got != want || !ok {
			t.Errorf("%s: %s, %t, want %s", host, got, ok, want)
		}
	}
	if _, _, ok := search("machine a login", "a"); ok {
		t.Error("an entry without a password")
	}
}
