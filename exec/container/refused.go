package container

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Refused says that this system does not let kiln isolate steps, which rule said
// so, and what to do about it.
type Refused struct {
	Doing string // what was refused
	Rule  string // what refused it, as far as can be told
	Hint  string // how to allow it
	Err   error
}

func (r *Refused) Error() string {
	text := "cannot isolate steps: " + r.Doing
	if r.Err != nil {
		text += ": " + r.Err.Error()
	}
	if r.Rule != "" {
		text += "\n" + r.Rule
	}
	if r.Hint != "" {
		text += "\n" + r.Hint
	}
	return text
}

func (r *Refused) Unwrap() error { return r.Err }

// refused turns an error of entering the namespaces into a *Refused. stage is what
// the executor was doing inside them, or "".
func refused(err error, stage string) error {
	var r Refused
	r.Err = err
	r.Doing = "creating a user namespace"
	if stage != "" {
		r.Doing = "setting up the user namespace"
	}
	r.Rule, r.Hint = rule(system, err, stage)
	return &r
}

// A facts answers what the rules ask about the system.
type facts struct {
	read   func(file string) string // trimmed content, "" if it cannot be read
	exists func(file string) bool
}

var system = facts{
	read: func(file string) string {
		b, _ := os.ReadFile(file)
		return strings.TrimSpace(string(b))
	},
	exists: func(file string) bool { _, err := os.Lstat(file); return err == nil },
}

// rule tells which rule of the system refused, most likely first.
func rule(s facts, err error, stage string) (rule, hint string) {
	inContainer := s.exists("/.dockerenv") || s.exists("/run/.containerenv")
	switch {
	case strings.Contains(stage, "the warehouse"), strings.Contains(stage, "the run's directory"):
		return "", "Set KILN_DATA_HOME to a directory on a local file system with room, in a container on a volume."
	case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM):
		return "A limit on open files, processes or memory was reached.", "See the limits: ulimit -a. kiln needs about 64 open files and 50 processes besides those of steps."
	case s.read("/proc/sys/user/max_user_namespaces") == "0":
		return "The sysctl user.max_user_namespaces is 0.",
			"Allow user namespaces: sudo sysctl -w user.max_user_namespaces=15000"
	case s.read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		return "The sysctl kernel.unprivileged_userns_clone is 0.",
			"Allow user namespaces: sudo sysctl -w kernel.unprivileged_userns_clone=1"
	case s.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor restricts unprivileged user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns is 1, as on Ubuntu 24.04).",
			"Either give kiln a profile that allows them:\n" + apparmorProfile() + "or lift the restriction: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS):
		return "There are as many user namespaces as the sysctl user.max_user_namespaces (" + s.read("/proc/sys/user/max_user_namespaces") + ") or the nesting depth of 32 allows.",
			"Raise it, or end what holds them: sudo sysctl -w user.max_user_namespaces=15000"
	case strings.Contains(errText(err), "newuidmap"), strings.Contains(errText(err), "newgidmap"):
		return "The helper refused the ids that /etc/subuid and /etc/subgid promise, or it has lost its setuid bit.",
			"Compare: grep \"^$(id -un):\" /etc/subuid /etc/subgid; ls -l $(command -v newuidmap newgidmap)"
	case strings.Contains(stage, "/proc") && inContainer:
		return "kiln runs inside a container whose /proc is masked, and the kernel lets nobody mount a fuller one.",
			"Start the outer container with --security-opt systempaths=unconfined (Docker 23 or newer, podman: --security-opt unmask=ALL)."
	case inContainer:
		return "kiln runs inside a container, whose seccomp or AppArmor profile most likely refuses namespaces and mounts.",
			"Start the outer container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined, or use a runner meant for it."
	case strings.Contains(stage, "/proc"):
		return "Something is mounted over parts of /proc, and the kernel lets nobody mount a fuller one.",
			"See which: grep ' /proc/' /proc/self/mountinfo"
	case s.read("/sys/fs/selinux/enforce") == "1":
		return "SELinux is enforcing and may have refused it.", "Look for a denial: sudo ausearch -m avc -ts recent"
	}
	return "", "Run kiln doctor for a check of each part."
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func apparmorProfile() string {
	exe, err := os.Executable()
	if err != nil {
		exe = "/usr/local/bin/kiln"
	}
	return fmt.Sprintf("    printf 'abi <abi/4.0>,\\nprofile kiln %s flags=(unconfined) { userns, }\\n' | sudo tee /etc/apparmor.d/kiln && sudo apparmor_parser -r /etc/apparmor.d/kiln\n", exe)
}
