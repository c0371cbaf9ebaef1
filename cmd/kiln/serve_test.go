package main

import (
	"bufio"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// startServe is the command serve: it runs kiln serve with its arguments, on an address
// that becomes $SERVE, in place of the one that runs. "serve stop" only stops that. What
// it says is in $WORK/serve.log. At its end it must be well.
func startServe(ts *testscript.TestScript, _ bool, args []string) {
	stopServe(ts)
	if len(args) == 1 && args[0] == "stop" {
		return
	}
	var bin string
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), ":") {
		if path := filepath.Join(dir, "kiln"); bin == "" && executable(path) {
			bin = path
		}
	}
	cmd := osexec.Command(bin, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "KILN_DATA_HOME", "KILN_CACHE_HOME", "KILN_CONFIG_HOME"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Dir = ts.MkAbs(".")
	log, err := os.Create(ts.MkAbs("serve.log"))
	ts.Check(err)
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	servers.Store(ts, cmd)
	ts.Defer(func() { stopServe(ts) })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		ts.Fatalf("kiln serve has not begun: %s", ts.ReadFile("serve.log"))
	}
	ts.Setenv("SERVE", strings.TrimSpace(addr))
}

// servers are the running ones, by script.
var servers sync.Map

func stopServe(ts *testscript.TestScript) {
	v, running := servers.LoadAndDelete(ts)
	if !running {
		return
	}
	cmd := v.(*osexec.Cmd)
	ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		ts.Fatalf("kiln serve: %v", err)
	}
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}
