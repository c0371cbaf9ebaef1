package toolbox

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalByName reads "TERM", "SIGTERM" or "15".
func signalByName(name string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < 65 {
		return syscall.Signal(n), nil
	}
	if sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("unknown signal %q", name)
}

// kill sends a signal: kill [-s SIGNAL | -SIGNAL] PID..., kill -l [NUMBER].
func kill(p *proc, args []string) error {
	sig := syscall.SIGTERM
	var err error
	switch {
	case len(args) > 0 && args[0] == "-l":
		return listSignals(p, args[1:])
	case len(args) > 1 && args[0] == "-s":
		sig, err = signalByName(args[1])
		args = args[2:]
	case len(args) > 0 && args[0] == "--":
		args = args[1:]
	case len(args) > 0 && strings.HasPrefix(args[0], "-"):
		sig, err = signalByName(args[0][1:])
		args = args[1:]
	}
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return errMissingOperand
	}
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		if err != nil {
			p.warn(fmt.Errorf("%s: not a process id", arg))
		} else if err := syscall.Kill(pid, sig); err != nil {
			p.warn(about(arg, err))
		}
	}
	return nil
}

func listSignals(p *proc, numbers []string) error {
	for n := 1; n < 32 && len(numbers) == 0; n++ {
		fmt.Fprintf(p.out, "%d %s\n", n, strings.TrimPrefix(unix.SignalName(syscall.Signal(n)), "SIG"))
	}
	for _, arg := range numbers {
		n, err := strconv.Atoi(arg)
		if err != nil {
			return fmt.Errorf("%s: not a number", arg)
		}
		if n > 128 {
			n -= 128
		}
		fmt.Fprintln(p.out, strings.TrimPrefix(unix.SignalName(syscall.Signal(n)), "SIG"))
	}
	return nil
}
