package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal makes a terminal: what is written to it can be read from screen.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("this machine has no pseudo terminals: ", err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return screen, terminal
}

// TestGauge: what takes longer than a second is shown, results come above it, and it
// leaves nothing behind.
func TestGauge(t *testing.T) {
	screen, terminal := openTerminal(t)
	a := &app{stdout: terminal, stderr: terminal, color: "never"}
	g := a.newGauge(t.Context(), "big", "packing", 100)
	g.s.mu.Lock()
	g.act.since = g.act.since.Add(-time.Minute)
	g.s.mu.Unlock()
	g.at(50)
	var seen bytes.Buffer
	until := func(text string) {
		t.Helper()
		buf := make([]byte, 4096)
		for !strings.Contains(seen.String(), text) {
			n, err := screen.Read(buf)
			if err != nil {
				t.Fatalf("waiting for %q after %q: %v", text, &seen, err)
			}
			seen.Write(buf[:n])
		}
		seen.Reset()
	}
	until("big  packing  [############............] 50 B of 100 B  1m")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { g.at(int64(i)); g.of(1, 2); g.entries(1, 2); g.next("other", 7); g.doing("scanning", 1) })
	}
	wg.Wait()
	g.aside(func() { fmt.Fprintln(a.stdout, "a result") })
	until("a result")
	until("other  scanning  1 B")
	g.close()
	g.close()
	if a.stderr != terminal || a.tty != nil {
		t.Error("stderr is not what it was")
	}
	until("\x1b[?25h") // the cursor is back

	none := (&app{stdout: &seen, stderr: &seen}).newGauge(context.Background(), "x", "y", 1)
	none.at(1)
	none.of(1, 2)
	none.next("x", 1)
	none.aside(func() { seen.WriteString("z") })
	none.close()
	if none != nil || seen.String() != "z" {
		t.Errorf("where there is no terminal: %q", &seen)
	}
}
