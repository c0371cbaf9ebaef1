package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	osexec "os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A dockered process is in a container of Docker's. The client that started it stands
// between its pipes and ours, and ends when it has ended.
type dockered struct {
	*process
	engine *docker
	name   string
	client *osexec.Cmd
	once   sync.Once
	killed atomic.Bool
}

// dockerCommand is a run of the client, out of reach of the keys of our terminal.
func dockerCommand(ctx context.Context, args ...string) *osexec.Cmd {
	cmd := osexec.CommandContext(ctx, "docker", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second // for what it leaves behind with our pipes, such as ssh
	return cmd
}

// start has the client start the container.
func (c *dockered) start() error {
	stdin, stdout, err := c.pipes()
	if err != nil {
		return err
	}
	defer stdin.Close()
	defer stdout.Close()
	c.client = dockerCommand(context.Background(), "start", "--attach", "--interactive", c.name)
	c.client.Stdin, c.client.Stdout, c.client.Stderr = stdin, stdout, c
	if err := c.client.Start(); err != nil {
		return err
	}
	go c.watch()
	return nil
}

// Write takes in a part of the log.
func (c *dockered) Write(data []byte) (int, error) {
	c.log(data)
	return len(data), nil
}

// watch waits for the end and notes how it was.
func (c *dockered) watch() {
	ended := c.client.Wait()
	state, err := c.inspect()
	c.mu.Lock()
	c.exit, c.oom = exit{Code: state.ExitCode}, state.OOMKilled
	if state.ExitCode > 128 {
		c.exit = exit{Code: -1, Signal: state.ExitCode - 128}
	}
	c.tail.Flush(c.emit)
	said := strings.Join(c.tail.Lines(), "\n")
	c.mu.Unlock()
	switch {
	case err != nil:
	case state.Status == "created": // then its log is the client's
		err = errors.New(complaint(state.Error+"\n"+said, fmt.Errorf("docker start: %w", ended)))
	case state.Status == "running":
		err = errors.New("docker let go of the container before its end")
	}
	c.over(err)
}

// A dockerState is what docker inspect says of a container.
type dockerState struct {
	Status    string
	Error     string // why it did not start
	ExitCode  int    // 128 and the signal where one ended it
	OOMKilled bool
}

// inspect asks for the state of the container, which has ended. The daemon may learn that
// memory ran out a moment after it has learnt of the end.
func (c *dockered) inspect() (s dockerState, err error) {
	for range 5 {
		var text string
		text, _, err = client(context.Background(), "inspect", "--format", "{{json .State}}", c.name)
		if err == nil {
			err = json.Unmarshal([]byte(text), &s)
		}
		if err != nil || s.OOMKilled || s.ExitCode != 128+9 || c.killed.Load() {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return s, err
}

// kill ends the container, whose start may still be on its way to the daemon.
func (c *dockered) kill() {
	c.once.Do(func() {
		c.killed.Store(true)
		go io.Copy(io.Discard, c.stdout) // or the client waits for somebody to read it
		go func() {
			late := time.After(patience)
			for {
				again := time.Second
				if _, _, err := client(context.Background(), "kill", c.name); err != nil {
					again = 20 * time.Millisecond // it does not run yet, or no more
				}
				select {
				case <-c.ended:
					return
				case <-late:
					c.client.Process.Kill() // a daemon that does not answer
					return
				case <-time.After(again):
				}
			}
		}()
	})
}

// memory asks for what its processes have of the memory there is.
func (c *dockered) memory() int64 {
	text, _, err := client(context.Background(), "top", c.name, "-o", "pid,rss")
	if err != nil {
		return 0
	}
	sum := int64(0)
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 2 {
			kib, _ := strconv.ParseInt(fields[1], 10, 64) // none in the heading
			sum += kib << 10
		}
	}
	return sum
}

func (c *dockered) release() { c.engine.remove(c.name) }
