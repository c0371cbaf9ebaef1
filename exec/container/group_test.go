package container

import (
	"bufio"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHelperGroup is no test: it is a kiln that makes a group and is killed.
func TestHelperGroup(t *testing.T) {
	parent := os.Getenv("KILN_TEST_GROUP")
	if parent == "" {
		t.Skip("a helper of TestSweepTakesGroupsOfTheDead")
	}
	dir, err := makeGroup(parent)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(dir.path)
	select {}
}

// parents are cgroups of version 1 and 2 in which this user may make others, as far as there are any.
func parents(t *testing.T) (all []string) {
	t.Helper()
	v1, v2 := memberships()
	for _, parent := range []string{v1["pids"], v2, cgroupRoot + "/unified"} {
		if _, err := os.Stat(filepath.Join(parent, "cgroup.procs")); err != nil || parent == "" {
			continue
		}
		if dir, err := os.MkdirTemp(parent, "test-kiln-"); err == nil {
			t.Cleanup(func() { unix.Rmdir(dir) })
			all = append(all, dir)
		}
	}
	if len(all) == 0 {
		t.Skip("needs a cgroup to make others in: be root, or systemd-run --user --scope -p Delegate=yes")
	}
	return all
}

// A sweep takes the groups of kilns that were killed, and not one that a live kiln has just
// made, which is as empty.
func TestSweepTakesGroupsOfTheDead(t *testing.T) {
	for _, parent := range parents(t) {
		live, err := makeGroup(parent)
		if err != nil {
			t.Fatal(err)
		}
		defer live.remove()
		cmd := osexec.Command(os.Args[0], "-test.run=^TestHelperGroup$")
		cmd.Env = append(os.Environ(), "KILN_TEST_GROUP="+parent)
		// In a pid namespace of its own, as in another container: its number says nothing here.
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}}
		out, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			t.Skipf("needs a namespace of processes: %v", err)
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		theirs := strings.TrimSpace(line)
		if !strings.HasPrefix(theirs, parent) {
			t.Fatalf("the helper says %q", line)
		}
		sweepGroups(parent)
		for _, dir := range []string{theirs, live.path} {
			if _, err := os.Stat(dir); err != nil {
				t.Errorf("while its kiln lives: %v", err)
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		sweepGroups(parent)
		if _, err := os.Stat(theirs); err == nil {
			t.Errorf("%s is there after its kiln was killed", theirs)
		}
		if _, err := os.Stat(live.path); err != nil {
			t.Error(err)
		}
		if live.remove(); len(groups(parent)) > 0 {
			t.Errorf("%v are left", groups(parent))
		}
	}
}

// A sweep finds groups also where systemd has escaped a name.
func TestSweepInEscapedName(t *testing.T) {
	parent := filepath.Join(t.TempDir(), `app-dbus\x2d:1.slice`)
	dead := filepath.Join(parent, jobGroupPrefix+"1")
	if err := os.MkdirAll(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	sweepGroups(parent)
	if _, err := os.Stat(dead); err == nil {
		t.Error("it is there after a sweep")
	}
}

func groups(parent string) []string {
	left, _ := filepath.Glob(filepath.Join(parent, jobGroupPrefix+"*"))
	return left
}

// A group of version 2 is made in the nearest one above that has the controllers, and a
// command begins its life there.
func TestGroupOfVersion2(t *testing.T) {
	root := cgroupRoot + "/unified"
	if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
		root = cgroupRoot
	}
	given, _ := os.ReadFile(root + "/cgroup.subtree_control")
	if !slices.Contains(strings.Fields(string(given)), "hugetlb") {
		if err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+hugetlb"), 0); err != nil {
			t.Skipf("needs cgroups of version 2 with the controller hugetlb: %v", err)
		}
		defer os.WriteFile(root+"/cgroup.subtree_control", []byte("-hugetlb"), 0)
	}
	top, err := os.MkdirTemp(root, "test-kiln-")
	if err != nil {
		t.Skip(err)
	}
	defer unix.Rmdir(top)
	own := filepath.Join(top, "own")
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	defer unix.Rmdir(own)
	if err := os.WriteFile(top+"/cgroup.subtree_control", []byte("+hugetlb"), 0); err != nil {
		t.Fatal(err)
	}
	g := &Group{}
	settings := map[string][]setting{"hugetlb": {{file: "hugetlb.2MB.max", value: "4194304"}, {"hugetlb.no-such", "1", true}}}
	if err := g.addUnified(own, []string{"hugetlb"}, settings); err != nil {
		t.Fatal(err)
	}
	dir := g.dirs[0].path
	if filepath.Dir(dir) != top { // own gives its children no controllers
		t.Errorf("it is %s, below %s", dir, top)
	}
	if value, _ := os.ReadFile(dir + "/hugetlb.2MB.max"); string(value) != "4194304\n" {
		t.Errorf("the limit is %q", value)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr := &syscall.SysProcAttr{}
	detach, err := g.Attach(attr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command("cat", "/proc/self/cgroup")
	cmd.SysProcAttr = attr
	in, err := cmd.Output()
	detach()
	if err != nil || !strings.Contains(string(in), "0::"+strings.TrimPrefix(dir, root)+"\n") {
		t.Errorf("the command is in %q: %v", in, err)
	}
	if !g.Remove() || len(groups(top)) > 0 {
		t.Errorf("%v are left", groups(top))
	}
	if err := g.addUnified(own, []string{"no-such"}, nil); err == nil || !strings.Contains(err.Error(), "no-such") {
		t.Errorf("without the controller: %v", err)
	}
}

func BenchmarkSweepNothing(b *testing.B) {
	v1, _ := memberships()
	for b.Loop() {
		memberships()
		for range 3 {
			sweepGroups(v1["pids"])
		}
	}
}
