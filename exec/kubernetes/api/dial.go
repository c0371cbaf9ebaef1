// Package api speaks to a Kubernetes API server: requests, watches and logs, and as much
// of each kind of object as kiln reads or writes. Who the server is and how it is
// authenticated to is the business of cmd/kiln-kube, a process of its own.
package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kilnbuild/kiln/internal/sealed"
)

// A Cluster is what kiln-kube has found.
type Cluster struct {
	Server    string `json:"server,omitempty"` // URL
	Namespace string `json:"namespace,omitempty"`
	Error     string `json:"error,omitempty"` // why it found none
}

// Where says which cluster is meant; zero values are as for kubectl, and in a pod that
// pod's cluster.
type Where struct {
	Kubeconfig string // path
	Context    string
	Namespace  string
}

// A Client makes requests of one cluster. Its methods are safe for concurrent use.
type Client struct {
	Cluster
	http   http.Client
	count  counter
	awayAt atomic.Int64 // when the server was last found away: nanoseconds since 1970
	proxy  *osexec.Cmd
	stdin  *os.File
	dir    string
}

// Dial starts program, cmd/kiln-kube, which speaks to the cluster. It makes no request: that there is a server is
// found out by the first one.
func Dial(program []byte, w Where) (*Client, error) {
	c := &Client{}
	if err := c.dial(program, w); err != nil {
		c.Close()
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	return c, nil
}

func (c *Client) dial(program []byte, w Where) (err error) {
	if c.dir, err = os.MkdirTemp("", "kiln-kube-"); err != nil {
		return err
	}
	path := filepath.Join(c.dir, "socket")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	defer listener.Close()
	listener.SetUnlinkOnClose(false)
	socket, err := listener.File()
	if err != nil {
		return err
	}
	defer socket.Close()
	if err := c.start(program, socket, w); err != nil {
		return err
	}
	dialer := net.Dialer{}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
		MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, DisableCompression: true,
	}
	c.http.Transport = &c.count
	c.count.next = transport
	return nil
}

// start starts kiln-kube and reads what it has found.
func (c *Client) start(program []byte, socket *os.File, w Where) error {
	file, err := sealed.File("kiln-kube", program)
	if err != nil {
		return err
	}
	defer file.Close()
	stdin, theirs, err := pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	c.stdin = stdin
	var said bytes.Buffer
	// Its number in the child: before it starts, os/exec may move a pipe to where it is here.
	cmd := osexec.Command("/proc/self/fd/4", "-kubeconfig", w.Kubeconfig, "-context", w.Context, "-namespace", w.Namespace)
	cmd.Args[0] = "kiln-kube"
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = theirs, &said, []*os.File{socket, file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal's keys are for kiln
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.proxy = cmd
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("kiln-kube ended without an answer: %s", strings.TrimSpace(said.String()))
	}
	if err := json.Unmarshal(line, &c.Cluster); err != nil {
		return err
	}
	if c.Error != "" {
		return errors.New(c.Error)
	}
	return nil
}

func pipe() (ours, theirs *os.File, err error) {
	theirs, ours, err = os.Pipe()
	return ours, theirs, err
}

// Close ends the process that Dial has started.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	if c.stdin != nil {
		c.stdin.Close()
	}
	if c.proxy != nil {
		c.proxy.Wait()
	}
	return os.RemoveAll(c.dir)
}
