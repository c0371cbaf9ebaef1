package main

import (
	"archive/tar"
	"bytes"
	"os"
	osexec "os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestWarePackInterrupted: Ctrl-C while an archive comes in slowly ends kiln at once,
// and nothing is left.
func TestWarePackInterrupted(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	var stderr bytes.Buffer
	cmd := osexec.Command("kiln", "ware", "pack", "-")
	cmd.Env = append(os.Environ(), "HOME=", "KILN_DATA_HOME="+data, "KILN_CACHE_HOME="+data+"-cache")
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(in)
	if err := w.WriteHeader(&tar.Header{Name: "big", Typeflag: tar.TypeReg, Mode: 0o644, Size: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds: when this returns, kiln is reading.
	if _, err := w.Write(make([]byte, 8<<20)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait() // closes in
	if cmd.ProcessState.ExitCode() != codeInterrupted {
		t.Errorf("ended with %v: %s", err, &stderr)
	}
	for _, dir := range []string{"stage", "fileset", "record"} {
		if left, err := os.ReadDir(filepath.Join(data, "warehouse", dir)); len(left) > 0 || err != nil {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
}
