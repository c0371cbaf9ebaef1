package packtest

import (
	"os"
	osexec "os/exec"
	"os/user"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// inChild reports whether this is the process in which a test is to do its work; in
// any other it starts that process and fails or skips as it does. The caller returns
// then. change is told of the command.
func inChild(t *testing.T, name string, change func(*osexec.Cmd)) bool {
	t.Helper()
	if os.Getenv("KILN_PACKTEST_CHILD") == name {
		return true
	}
	child(t, t.Name(), name, change)
	return false
}

// child runs the test called test, and no other, in a process of its own.
func child(t *testing.T, test, name string, change func(*osexec.Cmd)) {
	t.Helper()
	// Each part of a test's name is matched by itself.
	var parts []string
	for part := range strings.SplitSeq(test, "/") {
		parts = append(parts, "^"+regexp.QuoteMeta(part)+"$")
	}
	cmd := osexec.Command("/proc/self/exe", "-test.run="+strings.Join(parts, "/"), "-test.v", "-test.timeout=0")
	cmd.Env = append(os.Environ(), "KILN_PACKTEST_CHILD="+name, "TMPDIR="+tempDir(t))
	if change != nil {
		change(cmd)
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP: "+test+" "):
		t.Skipf("%s", out)
	case !strings.Contains(string(out), "--- PASS: "+test+" "):
		t.Fatalf("the test did not run:\n%s", out)
	}
	t.Logf("%s", out)
}

// oneID makes a command run in a user namespace that maps its user to root and no
// other id, and in a mount namespace.
func oneID(cmd *osexec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
}

// manyIDs makes it run in one that maps 65,536 of them: root's own, or with
// newuidmap those the user may have. It returns why that cannot be, or "".
func manyIDs(cmd *osexec.Cmd) string {
	if os.Geteuid() == 0 {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1 << 16}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}
		return ""
	}
	me, err := user.Current()
	if err != nil {
		return err.Error()
	}
	subids, err := os.ReadFile("/etc/subuid")
	if err != nil || !strings.Contains("\n"+string(subids), "\n"+me.Username+":") {
		return me.Username + " has no subordinate ids"
	}
	for _, tool := range []string{"newuidmap", "unshare"} {
		if _, err := osexec.LookPath(tool); err != nil {
			return err.Error()
		}
	}
	unshare := osexec.Command("unshare", "--user", "--mount", "--map-root-user", "--map-auto", "--")
	cmd.Path, cmd.Args = unshare.Path, append(append(unshare.Args, exe()), cmd.Args[1:]...)
	return ""
}

// exe returns the path of the test binary, which another program is to start.
func exe() string {
	path, err := os.Executable()
	if err != nil {
		return "/proc/self/exe"
	}
	return path
}
