package function

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/pack"
)

// Images are those that an engine has, to make containers of: docker.Images. Methods are
// safe for concurrent use.
type Images interface {
	// Resolve returns the id of an image, so that a tag that moves changes nothing.
	Resolve(ctx context.Context, ref string) (id string, err error)

	// Unenforced names those of the limits that the engine does not keep: "cpus",
	// "memory", "pids".
	Unenforced(l container.Limits) []string

	// Create makes a container, and returns what the engine warns of.
	Create(ctx context.Context, s ImageSpec) (c ImageContainer, warnings []string, err error)

	// Close lets go of the engine.
	Close() error
}

// An ImageSpec says what a container is to be.
type ImageSpec struct {
	Image    string   // its id
	Command  []string // in place of the image's entrypoint
	Env      []bundle.Variable
	Dir      string
	UID, GID int
	Binds    []ImageBind // read-only
	Limits   container.Limits
	Writable bool // its root
}

// An ImageBind is a path of the engine's machine at a port.
type ImageBind struct{ Port, Source string }

// An ImageContainer is one of an engine's.
type ImageContainer interface {
	// Start starts the command, once, on these ends of its pipes. It returns when that
	// runs, or has failed to.
	Start(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error

	// Wait returns when a command that was started has ended and all that it wrote was
	// passed on: its exit code, 128 and the signal where one ended it, and whether a
	// process of it got no more memory.
	Wait() (code int, oom bool, err error)

	// Kill ends all that runs in it, and does not wait for that.
	Kill(ctx context.Context) error

	// Memory is how many bytes its processes use; 0: that is not known.
	Memory(ctx context.Context) int64

	// Remove removes it, and ends what runs in it.
	Remove(ctx context.Context) error
}

// An imageEngine makes containers of one image.
type imageEngine struct {
	images Images
	spec   ImageSpec
	logs   func([]byte)
	under  sync.WaitGroup // containers being made
}

// patience is how long an engine may take for what should take it no time.
const patience = 20 * time.Second

// ofImage returns the engine of an image's containers, and notes. It makes one container
// and removes it: what is wrong with the image, the mounts or the limits shows now.
func (o *settings) ofImage(command []string) (engine, []string, error) {
	if !o.root.IsZero() {
		return nil, nil, errors.New("a container has a root ware or an image, not both: function.Root, function.Image")
	}
	e := &imageEngine{images: o.images, logs: o.logs}
	var err error
	if e.spec, err = o.imageSpec(command); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if e.spec.Image, err = o.images.Resolve(ctx, o.image); err != nil {
		return nil, nil, fmt.Errorf("image %s: %w", o.image, err)
	}
	notes, err := o.heed(o.images.Unenforced(o.limits), &e.spec.Limits)
	if err != nil {
		return nil, nil, err
	}
	c, warnings, err := e.images.Create(ctx, e.spec)
	if err != nil {
		return nil, nil, fmt.Errorf("image %s: %w", o.image, err)
	}
	if err := c.Remove(ctx); err != nil {
		return nil, nil, fmt.Errorf("image %s: %w", o.image, err)
	}
	for _, text := range warnings {
		notes = append(notes, "the engine: "+text)
	}
	return e, notes, nil
}

// heed takes limits out that the engine does not keep, with a note for each. Those that
// have to be enforced are an error.
func (o *settings) heed(unenforced []string, limits *container.Limits) (notes []string, err error) {
	for _, name := range unenforced {
		option := map[string]string{"memory": "Memory", "cpus": "CPUs", "pids": "PIDs"}[name]
		if !o.bestEffort && slices.Contains(o.given, option) {
			return nil, fmt.Errorf("the limit of %s cannot be enforced there: the engine does not keep it", name)
		}
		notes = append(notes, fmt.Sprintf("the limit of %s is not enforced: the engine does not keep it", name))
		switch name {
		case "memory":
			limits.Memory = 0
		case "cpus":
			limits.CPUs = 0
		case "pids":
			limits.PIDs = 0
		}
	}
	return notes, nil
}

// imageSpec is what gives the command the same as it has in a container of kiln's.
func (o *settings) imageSpec(command []string) (ImageSpec, error) {
	user := o.user
	if user == "" {
		user = defaultUser
	}
	s := ImageSpec{Command: command, Env: o.env, Dir: o.cwd, Limits: o.limits, Writable: o.writable}
	s.UID, s.GID, _ = parseUser(user)
	for _, m := range o.mounts {
		if m.port == "/" || slices.ContainsFunc(s.Binds, func(other ImageBind) bool { return other.Port == m.port }) {
			return s, fmt.Errorf("two wares are to be mounted at %s", m.port)
		}
		source, err := o.sourceOf(m)
		if err != nil {
			return s, fmt.Errorf("mount %s: %w", m.port, err)
		}
		s.Binds = append(s.Binds, ImageBind{m.port, source})
	}
	return s, nil
}

// sourceOf returns the directory or file of the engine's machine, or the fileset of the
// ware, that is to be mounted.
func (o *settings) sourceOf(m mount) (string, error) {
	if m.host != "" {
		return filepath.Abs(m.host)
	}
	if o.box == nil {
		return "", errors.New("the sandbox says in which warehouse the ware is: function.In")
	}
	rec, err := o.box.local.Get(m.ware)
	if err == nil {
		err = pack.Check(context.Background(), o.box.local, m.ware)
	}
	if err != nil {
		return "", err
	}
	return filepath.Abs(o.box.local.Fileset(rec))
}

func (e *imageEngine) wait() { e.under.Wait() }

// launch makes a container and has the engine start it, with our pipes.
func (e *imageEngine) launch(ctx context.Context) (*process, error) {
	type result struct {
		c   ImageContainer
		err error
	}
	made := make(chan result, 1)
	e.under.Go(func() { // a request that was sent cannot be taken back
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		c, _, err := e.images.Create(ctx, e.spec)
		made <- result{c, err}
	})
	var got result
	select {
	case got = <-made:
		if got.err != nil {
			return nil, got.err
		}
	case <-ctx.Done():
		e.under.Go(func() {
			if got := <-made; got.err == nil {
				remove(got.c)
			}
		})
		return nil, ctx.Err()
	}
	c := &imaged{process: newProcess(e.logs), container: got.c}
	c.confinement = c
	if err := c.start(); err != nil {
		c.close()
		return nil, err
	}
	return c.process, nil
}

func remove(c ImageContainer) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.Remove(ctx)
}

// An imaged process is in a container of an engine's.
type imaged struct {
	*process
	container ImageContainer
	once      sync.Once
}

// start has the engine start the container.
func (c *imaged) start() error {
	stdin, stdout, err := c.pipes()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = c.container.Start(ctx, stdin, stdout, c)
	if err != nil {
		stdin.Close()
		stdout.Close()
		return err
	}
	go c.watch(stdin, stdout)
	return nil
}

// Write takes in a part of the log.
func (c *imaged) Write(data []byte) (int, error) {
	c.log(data)
	return len(data), nil
}

// watch waits for the end and notes how it was.
func (c *imaged) watch(ends ...io.Closer) {
	code, oom, err := c.container.Wait()
	for _, end := range ends {
		end.Close()
	}
	c.mu.Lock()
	c.exit, c.oom = exit{Code: code}, oom
	if code > 128 {
		c.exit = exit{Code: -1, Signal: code - 128}
	}
	c.tail.Flush(c.emit)
	c.mu.Unlock()
	c.over(err)
}

// kill ends the container, whose start may still be on its way to the command.
func (c *imaged) kill() {
	c.once.Do(func() {
		go io.Copy(io.Discard, c.stdout) // or what it writes is in the way of its end
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			for {
				again := time.Second
				if err := c.container.Kill(ctx); err != nil {
					again = 20 * time.Millisecond // it does not run yet, or no more
				}
				select {
				case <-c.ended:
					return
				case <-ctx.Done(): // an engine that does not answer
					c.over(fmt.Errorf("the engine did not end the container in %s", patience))
					return
				case <-time.After(again):
				}
			}
		}()
	})
}

func (c *imaged) memory() int64 {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.container.Memory(ctx)
}

func (c *imaged) release() { remove(c.container) }
