package toolbox

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// traps adds to the interpreter what it lacks: trap on signals, umask and kill, a
// whole printf, and an echo that says when it could not write. A
// signal that is trapped stops the script; its action runs, then the action of
// EXIT, and the shell exits with 128 + the signal unless the action exits itself.
type traps struct {
	mu      sync.Mutex
	actions map[syscall.Signal]string
	signals chan os.Signal
	cancel  context.CancelFunc
	got     syscall.Signal
}

func newTraps() *traps { return &traps{actions: map[syscall.Signal]string{}} }

// call sees every simple command before it runs and may replace it.
func (t *traps) call(ctx context.Context, args []string) ([]string, error) {
	switch args[0] {
	case "trap":
		return t.trap(ctx, args), nil
	case "umask":
		return umask(ctx, args), nil
	case "printf":
		if len(args) > 1 && args[1] == "-v" {
			return args, nil
		}
		return append([]string{appletPrefix + "printf"}, args[1:]...), nil
	case "echo", "kill":
		return append([]string{appletPrefix + args[0]}, args[1:]...), nil
	}
	return args, nil
}

// trap takes the signals out of a trap command; EXIT and ERR are left.
func (t *traps) trap(ctx context.Context, args []string) []string {
	words := args[1:]
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	if len(words) < 2 {
		return args
	}
	action, kept := words[0], []string{"trap", "--", words[0]}
	for _, name := range words[1:] {
		name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
		if name == "0" || name == "EXIT" || name == "ERR" {
			kept = append(kept, strings.Replace(name, "0", "EXIT", 1))
			continue
		}
		sig, err := signalByName(name)
		if err != nil {
			fmt.Fprintf(interp.HandlerCtx(ctx).Stderr, "trap: %v\n", err)
			return []string{"false"}
		}
		t.set(sig, action)
	}
	if len(kept) == 3 {
		return []string{"true"}
	}
	return kept
}

func (t *traps) set(sig syscall.Signal, action string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch action {
	case "-":
		delete(t.actions, sig)
		signal.Reset(sig)
	case "":
		delete(t.actions, sig)
		signal.Ignore(sig)
	default:
		t.actions[sig] = action
		if t.signals == nil {
			t.signals = make(chan os.Signal, 1)
			go t.wait()
		}
		signal.Notify(t.signals, sig)
	}
}

func (t *traps) wait() {
	for sig := range t.signals {
		t.mu.Lock()
		t.got = sig.(syscall.Signal)
		t.mu.Unlock()
		t.cancel()
	}
}

// run runs file and, if a trapped signal stopped it, the action of that signal.
func (t *traps) run(ctx context.Context, r *interp.Runner, file *syntax.File) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	t.cancel = cancel
	err := r.Run(running, file)
	t.mu.Lock()
	sig, action := t.got, t.actions[t.got]
	t.mu.Unlock()
	if sig == 0 {
		return err
	}
	handler, parseErr := syntax.NewParser().Parse(strings.NewReader(action), "trap")
	if parseErr != nil {
		return codedError{parseErr, 2}
	}
	if err := r.Run(ctx, handler); err != nil {
		return err
	}
	return exit(128 + int(sig))
}

// umask shows or sets the umask, which the whole process shares.
func umask(ctx context.Context, args []string) []string {
	hc := interp.HandlerCtx(ctx)
	if len(args) == 1 {
		old := syscall.Umask(0)
		syscall.Umask(old)
		fmt.Fprintf(hc.Stdout, "%04o\n", old)
		return []string{"true"}
	}
	mask, err := strconv.ParseUint(args[1], 8, 9)
	if err != nil || len(args) > 2 {
		fmt.Fprintf(hc.Stderr, "umask: want an octal mask, not %s\n", strings.Join(args[1:], " "))
		return []string{"false"}
	}
	syscall.Umask(int(mask))
	return []string{"true"}
}
