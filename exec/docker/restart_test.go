package docker_test

import (
	"errors"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/kilnbuild/kiln/exec"
)

// restart ends the engine with a signal and starts it again.
func restart(t *testing.T, signal syscall.Signal) {
	t.Helper()
	text, err := os.ReadFile("/run/docker.pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
	gone := func() bool { // it may stay a zombie: its parent is a shell
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	}
	for !gone() {
		time.Sleep(50 * time.Millisecond)
	}
	os.Remove("/run/docker.pid")
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	cmd := osexec.Command(args[0], args[1:]...)
	if cmd.Stderr, err = os.CreateTemp(t.TempDir(), "dockerd"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()
	cli := engine(t)
	for {
		_, err := cli.Ping(t.Context(), client.PingOptions{})
		if err == nil {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestEngineRestarted: a run during which the engine is restarted is lost, and said to be,
// to those who waited meanwhile too; one that had ended is taken in as it was, with its log.
func TestEngineRestarted(t *testing.T) {
	if under(t) != "docker" {
		t.Skip("podman has no engine that could be restarted: containers are nobody's children")
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			b := newBench(t)
			spec := b.sh("echo made >/out; echo said; echo more >&2; exit 0")
			spec.Outputs = []exec.JobOutput{{Name: "out", Path: "/out", Packtype: "tree"}}
			before, err := b.r.Submit(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			wait := engine(t).ContainerWait(t.Context(), "kiln-"+before.ID, client.ContainerWaitOptions{})
			select {
			case <-wait.Result:
			case err := <-wait.Error:
				if !errdefs.IsNotFound(err) { // it may have ended, and been taken in
					t.Fatal(err)
				}
			}
			run := b.started(sleeps)
			waited := make(chan error, 1)
			go func() {
				got, err := b.connect(false).Wait(t.Context(), run.ID)
				if err == nil && got.Reason != exec.ReasonLost {
					err = errors.New(string(got.Status) + " " + string(got.Reason) + ": " + got.Message)
				}
				waited <- err
			}()
			restart(t, signal)
			b.wait(run.ID, exec.RunFailed, exec.ReasonLost, "")
			if err := <-waited; err != nil {
				t.Errorf("who waited while the engine was restarted got %v", err)
			}
			got := b.wait(before.ID, exec.RunSucceeded, "", "")
			var out, errs strings.Builder
			if err := b.r.Logs(t.Context(), before.ID, false, &out, &errs); err != nil || out.String() != "said\n" || errs.String() != "more\n" {
				t.Errorf("its log is %q and %q, %v", out.String(), errs.String(), err)
			}
			if !b.local.Has(got.Outputs["out"]) {
				t.Errorf("outputs %v", got.Outputs)
			}
			if n := containersLeft(t); n > 0 {
				t.Errorf("%d containers are left", n)
			}
		})
	}
}
