package stores

import (
	"strings"
	"testing"
)

// TestAddresses opens what addresses name, and tells no passwords.
func TestAddresses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ address, want, problem string }{
		{"file:///srv/a%20b.tgz", "file:///srv/a%20b.tgz", ""},
		{"ca+file:///srv", "ca+file:///srv", ""},
		{"https://me:secret@example.org/w.tgz", "https://example.org/w.tgz", ""},
		{"ca+https://me:secret@example.org/wares/", "ca+https://example.org/wares/", ""},
		{"ca+s3://bucket.s3.example.org/wares", "ca+https://bucket.s3.example.org/wares", ""},
		{"https://example.org/w.tgz?token=secret", "https://example.org/w.tgz?token=xxxxx", ""},
		{"ca+https://example.org/?sig=secret", "ca+https://example.org/?sig=xxxxx", ""},
		{"kiln://" + dir, "kiln://" + dir, ""},
		{"file://host/srv", "", "a file url has the form file:///absolute/path"},
		{"ca+file:srv", "", "no warehouse address"},
		{"kiln:///no/such", "", "no such file"},
		{"/srv/wares", "", "no warehouse address"},
		{"ftp://me:secret@example.org/w", "", "begin with ftp://"},
		{"https://me:secret@exa mple.org/", "", "invalid character"},
	} {
		s, err := At(t.Context(), c.address, Options{})
		switch {
		case err != nil && (c.problem == "" || !strings.Contains(err.Error(), c.problem) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%s: %v", c.address, err)
		case err == nil && (s.String() != c.want || c.problem != ""):
			t.Errorf("%s: %s, want %s%s", c.address, s, c.want, c.problem)
		}
		if err == nil {
			s.Close()
		}
	}
}
