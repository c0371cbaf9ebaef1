package function

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	osexec "os/exec"
	"strings"
	"sync"
	"time"
)

// A docker engine makes containers of an image through Docker's command line client,
// which finds its daemon as it always does.
type docker struct {
	image   string   // its id, so that a tag that moves changes nothing
	flags   []string // of docker create
	command []string // after its first word, which is among the flags
	logs    func([]byte)
	under   sync.WaitGroup // containers being made
}

// patience is how long Docker may take for what should take it no time.
const patience = 20 * time.Second

// client runs the docker command, and returns what it wrote on stdout and stderr. The
// error holds what the daemon said.
func client(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out, words strings.Builder
	cmd := dockerCommand(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &words
	err = cmd.Run()
	var exited *osexec.ExitError
	switch {
	case err == nil:
		return strings.TrimSpace(out.String()), words.String(), nil
	case ctx.Err() != nil:
		err = fmt.Errorf("no answer in %s: %w", patience, ctx.Err())
	case errors.As(err, &exited):
		err = errors.New(complaint(words.String(), err))
	}
	return "", words.String(), fmt.Errorf("docker %s: %w", args[0], err)
}

// complaint picks from what the client wrote on stderr why it did not do it.
func complaint(stderr string, otherwise error) string {
	for line := range strings.Lines(stderr) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "Error response from daemon: ")
		if line != "" && !strings.HasPrefix(line, warning) {
			return line
		}
	}
	return otherwise.Error()
}

// warning begins a line about what Docker leaves out.
const warning = "WARNING: "

// create makes a container and returns Docker's warnings.
func (d *docker) create(ctx context.Context, name string) (warnings []string, err error) {
	args := append([]string{"create", "--name", name}, d.flags...)
	_, stderr, err := client(ctx, append(append(args, d.image), d.command...)...)
	for line := range strings.Lines(stderr) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), warning); ok {
			warnings = append(warnings, text)
		}
	}
	return warnings, err
}

// remove removes a container, and ends what runs in it.
func (d *docker) remove(name string) {
	client(context.Background(), "rm", "--force", "--volumes", name)
}

func containerName() string {
	var id [16]byte
	rand.Read(id[:])
	return "kiln-function-" + hex.EncodeToString(id[:])
}

func (d *docker) wait() { d.under.Wait() }

// launch makes a container and has the client start it, with our pipes.
func (d *docker) launch(ctx context.Context) (*process, error) {
	c := &dockered{process: newProcess(d.logs), engine: d, name: containerName()}
	c.confinement = c
	made := make(chan error, 1)
	d.under.Go(func() { // a request that was sent cannot be taken back
		_, err := d.create(context.Background(), c.name)
		made <- err
	})
	select {
	case err := <-made:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		d.under.Go(func() {
			if <-made == nil {
				d.remove(c.name)
			}
		})
		return nil, ctx.Err()
	}
	if err := c.start(); err != nil {
		c.close()
		return nil, err
	}
	return c.process, nil
}
