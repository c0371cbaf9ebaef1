package function

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/internal/jsonschema"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// A ContainerFunc executes a command in containers.
type ContainerFunc[A, B any] struct {
	in, out *jsonschema.Schema
	head    []byte
	pool    *pool
	notes   []string
}

// Container returns an executor around a command that speaks the protocol: a request
// on stdin, a response on stdout, logs on stderr. The command runs without a network,
// on a root that it cannot write to, as user 1000, and with limits. It must be given
// In and Root, or Image. What it names is checked here, once.
func Container[A, B any](command []string, options ...Option) (*ContainerFunc[A, B], error) {
	o, err := collect(options)
	if err != nil {
		return nil, err
	}
	if len(command) == 0 || command[0] == "" {
		return nil, errors.New("a container needs a command")
	}
	c := &ContainerFunc[A, B]{in: o.in, out: o.out, head: requestHead(o.in, o.out)}
	var e engine
	if o.image != "" {
		e, c.notes, err = o.ofImage(command)
	} else {
		e, c.notes, err = o.own(command)
	}
	if err != nil {
		return nil, err
	}
	c.pool = newPool(o, e)
	return c, nil
}

// Notes says what is not as it was to be on this machine: a limit that is only kept
// for each process, a user that does not exist here.
func (c *ContainerFunc[A, B]) Notes() []string { return c.notes }

// Close ends what was started ahead, and calls under way. The sandbox stays open.
func (c *ContainerFunc[A, B]) Close() { c.pool.close() }

// Check starts the command and gives it no request: it has to end well, and to write
// nothing on stdout.
func (c *ContainerFunc[A, B]) Check(ctx context.Context) error {
	_, err := c.pool.call(ctx, nil)
	var protocol *ProtocolError
	if errors.As(err, &protocol) && protocol.What == noResponse && protocol.ExitCode == 0 {
		return nil
	}
	if err == nil {
		err = protocolError("it wrote a response without a request", nil)
	}
	return err
}

// Execute calls the command.
func (c *ContainerFunc[A, B]) Execute(ctx context.Context, input A) (B, error) {
	var none B
	if c.in != nil {
		if err := c.in.Validate(input); err != nil {
			return none, invalid(Input, err)
		}
	}
	line, err := request(c.head, input)
	if err != nil {
		return none, err
	}
	output, err := c.pool.call(ctx, line)
	if err != nil {
		return none, err
	}
	return decode[B](output, c.out)
}

// own returns the engine of kiln's own containers, and notes.
func (o *settings) own(command []string) (engine, []string, error) {
	l, err := o.launch(command)
	if err != nil {
		return nil, nil, err
	}
	notes, err := o.settle(l)
	if err != nil {
		return nil, nil, err
	}
	return &own{o.box, l}, notes, nil
}

// launch says how the command is started, with every ware checked.
func (o *settings) launch(command []string) (*launch, error) {
	if o.box == nil {
		return nil, errors.New("a container needs a sandbox to be in: function.In")
	}
	if o.root.IsZero() {
		return nil, errors.New("a container needs a root ware: function.Root")
	}
	root, err := o.mount("/", o.root)
	if err != nil {
		return nil, err
	}
	l := &launch{
		job:    wire.Job{Name: "function", Root: &root, ReadOnly: !o.writable},
		start:  wire.Start{Args: command, Env: bundle.Environment(o.env), Cwd: o.cwd},
		limits: o.limits, logs: o.logs,
	}
	for _, m := range o.mounts {
		if m.host != "" {
			rec, err := pack.Ingest(context.Background(), o.box.local, m.host, pack.Options{})
			if err != nil {
				return nil, fmt.Errorf("make a ware of %s: %w", m.host, err)
			}
			m.ware = rec.ID
		}
		mounted, err := o.mount(m.port, m.ware)
		if err != nil {
			return nil, err
		}
		l.job.Mounts = append(l.job.Mounts, mounted)
	}
	slices.SortFunc(l.job.Mounts, func(a, b wire.Mount) int { return strings.Compare(a.Port, b.Port) })
	for i, m := range l.job.Mounts {
		if m.Port == "/" || i > 0 && m.Port == l.job.Mounts[i-1].Port {
			return nil, fmt.Errorf("two wares are to be mounted at %s", m.Port)
		}
	}
	return l, nil
}

func (o *settings) mount(port string, id warehouse.WareID) (wire.Mount, error) {
	local := o.box.local
	rec, err := local.Get(id)
	if err == nil {
		err = pack.Check(context.Background(), local, id)
	}
	if err != nil {
		return wire.Mount{}, fmt.Errorf("mount %s: %w", port, err)
	}
	return wire.Mount{Port: port, Ware: id, Path: strings.TrimPrefix(local.Fileset(rec), local.Dir()+"/"), File: rec.File}, nil
}

func parseUser(user string) (uid, gid int, ok bool) {
	u, g, two := strings.Cut(user, ":")
	if !two {
		g = u
	}
	uid, err1 := strconv.Atoi(u)
	gid, err2 := strconv.Atoi(g)
	return uid, gid, err1 == nil && err2 == nil && uid >= 0 && gid >= 0
}

const defaultUser = "1000"

// settle decides what of the user and the limits this machine can have, and returns
// notes about what it cannot. What was asked for and cannot be had is an error.
func (o *settings) settle(l *launch) (notes []string, err error) {
	explicit := o.user
	if explicit == "" {
		o.user = defaultUser
	}
	l.job.UID, l.job.GID, _ = parseUser(o.user)
	if err := o.box.x.MayRunAs(l.job.UID, l.job.GID); err != nil {
		if explicit != "" {
			return nil, err
		}
		notes = append(notes, "the function runs as user 0 of its own: "+err.Error())
		l.job.UID, l.job.GID = 0, 0
	}
	group, left := container.NewGroup(o.limits)
	defer group.Remove()
	if why := left["memory"]; why != nil {
		if slices.Contains(o.given, "Memory") && !o.bestEffort {
			return nil, unenforced(fmt.Sprintf("%d MiB of memory", o.limits.Memory>>20), why)
		}
		notes = append(notes, fmt.Sprintf("each process may use %d MiB, not all together: %v", o.limits.Memory>>20, why))
		l.job.MaxData = uint64(o.limits.Memory)
		l.limits.Memory = 0
	}
	if why := left["cpu"]; why != nil {
		if !o.bestEffort {
			return nil, unenforced(fmt.Sprintf("%v CPUs", o.limits.CPUs), why)
		}
		notes = append(notes, fmt.Sprintf("the function may use all cores: %v", why))
		l.limits.CPUs = 0
	}
	if why := left["pids"]; why != nil {
		notes = append(notes, fmt.Sprintf("the limit of %d processes is for all calls of the sandbox together: %v", o.limits.PIDs, why))
		l.job.MaxPIDs = uint64(o.limits.PIDs)
		l.limits.PIDs = 0
	}
	return notes, nil
}

// unenforced says why a limit that was asked for cannot be had without BestEffort.
func unenforced(limit string, why error) error {
	return fmt.Errorf("the limit of %s cannot be enforced here: %w (it can be for root, or under systemd-run --user --scope -p Delegate=yes)", limit, why)
}
