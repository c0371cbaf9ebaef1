package container

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRuleNamesWhatRefused(t *testing.T) {
	cases := map[string]struct {
		files map[string]string // present files and their content
		err   error
		stage string
		want  string
	}{
		"no namespaces at all":  {map[string]string{"/proc/sys/user/max_user_namespaces": "0"}, unix.ENOSPC, "", "user.max_user_namespaces is 0"},
		"Debian's sysctl":       {map[string]string{"/proc/sys/kernel/unprivileged_userns_clone": "0"}, unix.EPERM, "", "kernel.unprivileged_userns_clone is 0"},
		"Ubuntu 24.04":          {map[string]string{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}, unix.EACCES, "make mounts private", "AppArmor"},
		"too many":              {map[string]string{"/proc/sys/user/max_user_namespaces": "9"}, unix.ENOSPC, "", "(9)"},
		"the shell's limits":    {map[string]string{"/.dockerenv": ""}, unix.EMFILE, "", "limit on open files"},
		"in Docker":             {map[string]string{"/.dockerenv": ""}, unix.EPERM, "", "inside a container"},
		"in Docker, masked":     {map[string]string{"/.dockerenv": ""}, unix.EPERM, "mount /proc", "/proc is masked"},
		"in podman":             {map[string]string{"/run/.containerenv": ""}, unix.EPERM, "", "inside a container"},
		"something over /proc":  {nil, unix.EPERM, "mount /proc", "mounted over parts of /proc"},
		"a helper without suid": {nil, errors.New("newuidmap: exit status 1: write to uid_map failed"), "", "setuid bit"},
		"the same in Docker":    {map[string]string{"/.dockerenv": ""}, errors.New("newuidmap: exit status 1: subuid overflow detected"), "", "/etc/subuid"},
		"SELinux":               {map[string]string{"/sys/fs/selinux/enforce": "1"}, unix.EACCES, "", "SELinux"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := facts{
				read:   func(f string) string { return c.files[f] },
				exists: func(f string) bool { _, ok := c.files[f]; return ok },
			}
			rule, hint := rule(s, c.err, c.stage)
			if !strings.Contains(rule, c.want) || hint == "" {
				t.Errorf("rule %q, hint %q; want %q and a hint", rule, hint, c.want)
			}
		})
	}
	if _, hint := rule(facts{read: func(string) string { return "" }, exists: func(string) bool { return false }}, unix.EPERM, ""); !strings.Contains(hint, "kiln doctor") {
		t.Errorf("unknown refusal: hint %q", hint)
	}
}

func TestSubordinate(t *testing.T) {
	uid := os.Getuid()
	for text, want := range map[string]Range{
		"other:1:2\n" + strconv.Itoa(uid) + ":100000:65536\n": {1, 100000, 65535},
		strconv.Itoa(uid) + ":5:10":                           {1, 5, 10},
		"garbage\n::\n" + strconv.Itoa(uid) + ":x:y\n":        {},
		strconv.Itoa(uid) + ":0:10\n":                         {}, // would map root
		"":                                                    {},
	} {
		file := filepath.Join(t.TempDir(), "subuid")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := subordinate(file, uid)
		if got != want || (err == nil) != (want != Range{}) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"5.10.0-23-amd64", "5.11", true}, {"5.11.0", "5.11", false}, {"6.1.0", "5.11", false}, {"4.19", "5.11", true}} {
		if got := older(c.a, c.b); got != c.want {
			t.Errorf("older(%s, %s) = %v", c.a, c.b, got)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var out tail
	out.Write([]byte(strings.Repeat("x", tailSize)))
	out.Write([]byte("end"))
	if got := out.bytes(); len(got) != tailSize || !strings.HasSuffix(string(got), "xend") {
		t.Errorf("%d bytes", len(got))
	}
}
