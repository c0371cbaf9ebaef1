package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataDirPlaces(t *testing.T) {
	tmp := t.TempDir()
	for _, tt := range []struct {
		name, own, xdg, home, want string
	}{
		{"own", tmp + "/own", tmp + "/xdg", tmp + "/home", "/own/memo"},
		{"xdg", "", tmp + "/xdg", tmp + "/home", "/xdg/kiln/memo"},
		{"home", "", "", tmp + "/home", "/home/.local/share/kiln/memo"},
		{"relative xdg is ignored", "", "xdg", tmp + "/home2", "/home2/.local/share/kiln/memo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("KILN_DATA_HOME", tt.own)
			t.Setenv("XDG_DATA_HOME", tt.xdg)
			t.Setenv("HOME", tt.home)
			dir, err := dataDir("memo")
			if err != nil || dir != tmp+tt.want {
				t.Fatalf("dataDir = %q, %v; want %q", dir, err, tmp+tt.want)
			}
			if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
				t.Errorf("stat %s: %v, %v; want mode 0700", dir, fi, err)
			}
		})
	}
}

func TestDataDirRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for own, want := range map[string]string{
		"":           "HOME is not set",
		"rel":        "not an absolute path",
		file:         "not a directory",
		"/proc/kiln": "make kiln's directory",
	} {
		t.Setenv("KILN_DATA_HOME", own)
		t.Setenv("XDG_DATA_HOME", "")
		t.Setenv("HOME", "")
		if _, err := dataDir("memo"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("KILN_DATA_HOME=%q: %v; want %q", own, err, want)
		}
	}
}

func TestConfigFile(t *testing.T) {
	t.Setenv("KILN_CONFIG_HOME", "")
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "/home/of-nobody")
	if got, err := configFile("config.hcl"); err != nil || got != "/home/of-nobody/.config/kiln/config.hcl" {
		t.Errorf("configFile = %q, %v", got, err)
	}
}
