// Command kiln-executor is the part of kiln that lives inside a run's user
// namespace: it makes containers for steps and for the packer. It is built static,
// kept small because every container starts it, and embedded in kiln, which speaks
// to it over an inherited socket. It is of no use on its own.
package main

import "C" // await.c

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // enters a container's namespaces before Go starts
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container/executor"
)

var role string

// libcontainer enters a new container's mount namespace with a thread that it then
// lets end. The first thread of a process cannot end: it would stay in there, and
// keep the first job's file system mounted. So it is given nothing to do.
func init() {
	if len(os.Args) > 1 {
		role = os.Args[1]
	}
	if role == "serve" {
		runtime.LockOSThread()
		// Getting its ids mapped by newuidmap has undone what kiln set.
		unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	}
}

func main() {
	switch role {
	case "init": // libcontainer starts its own executable as a container's first process
		debug.SetGCPercent(-1)
		libcontainer.Init()
	case "serve":
		ended := make(chan int)
		go func() { ended <- executor.Serve() }()
		os.Exit(<-ended)
	case "packer":
		os.Exit(executor.ServePacker())
	default:
		fmt.Fprintln(os.Stderr, "kiln-executor is started by kiln")
		os.Exit(1)
	}
}
