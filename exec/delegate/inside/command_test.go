package inside

import (
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a command wrote last is read before the helper ends: its pipe ends with it.
func TestDrainWaitsForTheReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	const size = 40 << 10
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		for range size >> 10 {
			time.Sleep(time.Millisecond)
			if _, err := io.ReadFull(r, make([]byte, 1<<10)); err != nil {
				read <- err
				return
			}
		}
		read <- nil
	}()
	drain(w, size)
	if n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ); err != nil || n > 0 {
		t.Errorf("%d bytes are still there, %v", n, err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
}
