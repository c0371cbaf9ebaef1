package exectest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"

	"github.com/kilnbuild/kiln/exec"
)

// An order is what another process of the suite is to do.
type order struct {
	Dir    string
	Do     string // submit, wait, cancel
	ID     string
	Submit exec.JobSpec
}

// elsewhere does in this process what another one has ordered, and tells the run.
func elsewhere(connect func(dir string) (exec.Runner, error), text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	r, err := connect(o.Dir)
	if err != nil {
		return err
	}
	var run exec.Run
	ctx := context.Background()
	switch o.Do {
	case "submit":
		run, err = r.Submit(ctx, o.Submit)
	case "wait":
		run, err = r.Wait(ctx, o.ID)
	case "cancel":
		run, err = r.Cancel(ctx, o.ID)
	}
	if err != nil {
		return err
	}
	text1, err := json.Marshal(run)
	if err != nil {
		return err
	}
	fmt.Println(string(text1))
	if o.Do == "submit" {
		io.Copy(io.Discard, os.Stdin) // until killed
	}
	return nil
}

// other has another process do something, and returns the run that it tells. The
// process lives until kill is called.
func (s *suite) other(o order) (run exec.Run, kill func()) {
	s.Helper()
	o.Dir = s.Dir
	text, err := json.Marshal(o)
	if err != nil {
		s.Fatal(err)
	}
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KILN_EXECTEST="+string(text))
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		s.Fatal(err)
	}
	kill = func() {
		cmd.Process.Kill()
		stdin.Close()
		cmd.Wait()
	}
	s.Cleanup(kill)
	line, err := bufio.NewReaderSize(stdout, 1<<20).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error:") {
		s.Fatalf("another process was to %s: %s %v", o.Do, line, err)
	}
	if err := json.Unmarshal([]byte(line), &run); err != nil {
		s.Fatal(err)
	}
	return run, kill
}
