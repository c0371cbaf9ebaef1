package inside

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
)

// check makes sure that the environment is what the runner counts on.
func (h *helper) check() error {
	if err := h.checkUser(); err != nil {
		return err
	}
	if err := h.checkOwner(); err != nil {
		return err
	}
	if err := h.checkNetwork(); err != nil {
		return err
	}
	return checkLimits(h.Spec.Resources.Limits)
}

// checkUser makes sure that the command can run as the user it is to.
func (h *helper) checkUser() error {
	uid, gid, _ := strings.Cut(h.Spec.User, ":")
	var err1, err2 error
	if uid != "" {
		h.uid, err1 = strconv.Atoi(uid)
		h.gid = h.uid
	}
	if gid != "" {
		h.gid, err2 = strconv.Atoi(gid)
	}
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("user %q: %w", h.Spec.User, err)
	}
	if own := os.Geteuid(); own != 0 && (own != h.uid || os.Getegid() != h.gid) {
		return fmt.Errorf("the command is to run as %d:%d, but here kiln is %d:%d and cannot become another: let the container's user be root, who need not be root outside", h.uid, h.gid, own, os.Getegid())
	}
	return nil
}

// checkOwner makes sure that what is mounted from the runner's machine is the helper's.
func (h *helper) checkOwner() error {
	if !h.Owned {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(delegate.PayloadPath, &st); err != nil {
		return fmt.Errorf("look at what is mounted: %w", err)
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("what is mounted at %s belongs to user %d here, not to %d", delegate.Dir, st.Uid, os.Geteuid())
	}
	return nil
}

// checkNetwork notes whether there is a network.
func (h *helper) checkNetwork() error {
	name, err := outside()
	if err != nil {
		return fmt.Errorf("list network interfaces: %w", err)
	}
	if name == "" {
		h.result.Offline = exec.OfflineEnforced
	}
	return nil
}

// offlineHere reports whether it is for the helper to keep the command from a network.
func (h *helper) offlineHere() bool {
	return h.Payload.Network != delegate.NetworkAsIs && !h.Spec.Network && h.result.Offline != exec.OfflineEnforced
}

// mustBeOffline reports whether the command may not run if it cannot be kept from one.
func (h *helper) mustBeOffline() bool {
	return h.offlineHere() && h.Payload.Network == delegate.NetworkRequire
}

// outside returns the name of an interface that leads out of this network namespace,
// or "". The kernel puts tunnels that lead nowhere, and are down, into every one.
func outside() (string, error) {
	list, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range list {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			return i.Name, nil
		}
	}
	return "", nil
}
