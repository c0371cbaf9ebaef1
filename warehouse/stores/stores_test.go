package stores

import (
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	for url, want := range map[string]string{
		"ca+file:///srv/wares":                    "file:///srv/wares",
		"ca+s3://wares/team?region=eu-central-1":  "ca+s3://wares/team?region=eu-central-1",
		"oci://registry.example/team/wares":       "oci://registry.example/team/wares",
		"oci+http://registry.example/team/wares":  "oci+http://registry.example/team/wares",
		"ca+https://kiln:sesame@wares.example/x/": "ca+https://wares.example/x",
	} {
		s, err := Open(t.Context(), url, Options{})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if !strings.Contains(s.String(), want) || strings.Contains(s.String(), "sesame") {
			t.Errorf("%s is %s", url, s)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for url, want := range map[string]string{
		"gopher://wares.example":                 "no warehouses with URLs that begin with gopher://",
		"https://kiln:sesame@wares.example:port": "its URL is broken",
		"ca+s3://kiln:sesame@wares":              "credentials do not belong into a URL",
		"ca+s3://b?endpoint=http://k:sesame@s3":  "endpoint has the form",
		"oci://kiln:sesame@registry.example/x":   "credentials do not belong into a URL",
	} {
		if _, err := Open(t.Context(), url, Options{}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
	if _, err := Open(t.Context(), "ca+s3://wares", Options{CAFile: "/nowhere/ca.pem"}); err == nil || !strings.Contains(err.Error(), "/nowhere/ca.pem") {
		t.Errorf("certificates that are not there: %v", err)
	}
}
