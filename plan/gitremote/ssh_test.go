package gitremote

import (
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newSSH puts an ssh first on the PATH that is the real one with a configuration of its
// own: each connection starts a real sshd for this user.
func newSSH(t *testing.T) (userName string) {
	t.Helper()
	programs := map[string]string{}
	for _, name := range []string{"ssh", "ssh-keygen", "sshd"} {
		path, err := osexec.LookPath(name)
		if err != nil {
			path = "/usr/sbin/" + name // on no ordinary user's PATH
		}
		if _, err := os.Stat(path); err != nil {
			t.Skipf("%s is not installed", name)
		}
		programs[name] = path
	}
	if os.Getuid() == 0 {
		must(t, os.MkdirAll("/run/sshd", 0o755)) // where it gives up its rights
	}
	dir := t.TempDir()
	for _, key := range []string{"host", "id"} {
		out, err := osexec.Command(programs["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	host, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	must(t, err)
	for name, text := range map[string]string{
		"known": "kiln.test " + string(host) + "[kiln.test]:2222 " + string(host),
		"sshd": fmt.Sprintf("HostKey %[1]s/host\nAuthorizedKeysFile %[1]s/id.pub\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"+
			"PasswordAuthentication no\nAcceptEnv GIT_PROTOCOL\nLogLevel QUIET\n", dir),
		"config": fmt.Sprintf("IdentityFile %[1]s/id\nIdentitiesOnly yes\nUserKnownHostsFile %[1]s/known\nGlobalKnownHostsFile none\nProxyCommand %[2]s -i -f %[1]s/sshd\n", dir, programs["sshd"]),
		"ssh":    fmt.Sprintf("#!/bin/sh\nexec %s -F %s/config \"$@\"\n", programs["ssh"], dir),
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	must(t, os.Chmod(filepath.Join(dir, "ssh"), 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	me, err := user.Current()
	must(t, err)
	return me.Username
}

func TestSSH(t *testing.T) {
	s := newServer(t)
	dir := s.repo(t, "it's a repo")
	me := newSSH(t)
	for _, url := range []string{"ssh://" + me + "@kiln.test" + strings.ReplaceAll(dir, " ", "%20"), me + "@kiln.test:" + dir, "ssh://kiln.test:2222" + strings.ReplaceAll(dir, " ", "%20")} {
		want := runGit(t, dir, "rev-parse", "HEAD~2") // its parents are left out, it is no tip
		if got, err := open(t, url, want, options(t)); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", url, got, err, want)
		}
	}
	for url, want := range map[string]string{
		me + "@kiln.test:" + s.root + "/none": "ssh says: fatal: ",
		"ssh://" + me + "@other.test/x":       "ssh says: ",
		"ssh://-oProxyCommand=x/y":            "ssh could take",
		"ssh://kiln.test/x%0ay":               "ssh could take",
	} {
		if _, err := open(t, url, "", options(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
}

// TestSSHHangs has an ssh that never answers.
func TestSSHHangs(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "ssh"), []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	o := options(t)
	o.Stall = 50 * time.Millisecond
	var passing *TemporaryError
	if _, err := open(t, "git@kiln.test:x", "", o); !errors.As(err, &passing) || !strings.Contains(err.Error(), "nothing came for") {
		t.Errorf("an ssh that hangs: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Open(ctx, "git@kiln.test:x", "", options(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
