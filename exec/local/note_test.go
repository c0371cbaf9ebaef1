package local

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/kilnbuild/kiln/exec"
)

// TestStartIsNotedBesideTheCommand: the command need not be waiting while what is noted of
// it is written, and does not go on when that cannot be.
func TestStartIsNotedBesideTheCommand(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fifo := func() (*os.File, *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); w.Close() })
		return r, w
	}
	r, w := fifo()
	waited := false
	end := Command(t.Context(), exec.JobSpec{Command: []string{"/bin/sh", "-c", "echo up"}, Dir: "/"}, Options{
		Stdout: w, Stderr: null, ScriptDir: filepath.Join(t.TempDir(), "script"),
		Started: func(pid int) error { // a slow disk: the command has long ended, and was waited for
			io.ReadFull(r, make([]byte, 3))
			for !waited {
				_, err := os.Stat("/proc/" + strconv.Itoa(pid))
				waited = errors.Is(err, os.ErrNotExist)
			}
			return nil
		},
	})
	if end.ExitCode != 0 || end.Reason != "" {
		t.Errorf("%+v", end)
	}
	failed := errors.New("the disk is full")
	end = Command(t.Context(), exec.JobSpec{Command: []string{"/bin/sh", "-c", "sleep 1000"}, Dir: "/", Env: []string{"PATH=/bin:/usr/bin"}}, Options{
		Stdout: null, Stderr: null, ScriptDir: filepath.Join(t.TempDir(), "script"),
		Started: func(int) error { return failed },
	})
	if end.Reason != exec.ReasonSetup || end.Message != failed.Error() {
		t.Errorf("%+v", end)
	}
}
