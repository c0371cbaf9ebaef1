package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes"
	"github.com/kilnbuild/kiln/exec/local"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/exec/rootless"
	"github.com/kilnbuild/kiln/exec/supervise"
	"github.com/kilnbuild/kiln/internal/config"
	"github.com/kilnbuild/kiln/warehouse"
)

// A runnerKind is a kind of runner that this kiln has. Its open is cheap: it connects to
// nothing.
type runnerKind struct {
	name, short string
	rooted      bool // commands need a root or an image: the toolbox unless one is named
	open        func(o runnerSetting) (exec.Runner, error)
}

// A runnerSetting is what a runner is opened with.
type runnerSetting struct {
	name     string
	registry *registry.Registry
	block    hcl.Body // of config.hcl for this runner; nil: none
	base     hcl.Body // for kueue: that for kubernetes; nil: none
	self     []string // how kiln is started as a supervisor
	config   *config.Config
}

// runnerKinds are all runners, the default first.
var runnerKinds = []runnerKind{
	{"container", "containers of kiln's own, on this machine", true, func(o runnerSetting) (exec.Runner, error) {
		return rootless.New(o.registry, containers(), o.self), o.none()
	}},
	{"docker", "containers of a Docker Engine, or of podman", true, openDocker},
	{kubernetes.Name, "Jobs of a Kubernetes cluster", true, openKube},
	{kubernetes.QueueName, "Jobs that wait in a queue of Kueue's", true, openKube},
	{"local", "this machine as it is: NO isolation, the command sees and may change all that you may", false, func(o runnerSetting) (exec.Runner, error) {
		return local.New(o.registry, o.self), o.none()
	}},
}

// none says what is in the block of a runner that takes nothing.
func (o runnerSetting) none() error {
	if o.block == nil {
		return nil
	}
	if diags := gohcl.DecodeBody(o.block, nil, &struct{}{}); diags.HasErrors() {
		return diags
	}
	return nil
}

func containers() *rootless.Environment {
	return &rootless.Environment{Warehouse: openWares, Binaries: binaries}
}

// openWares opens the local warehouse.
func openWares() (*warehouse.Local, error) {
	dir, err := dataDir("warehouse")
	if err != nil {
		return nil, err
	}
	return warehouse.OpenLocal(dir)
}

// runners are the runners of this kiln, opened when they are used.
type runners struct {
	config   *config.Config
	registry *registry.Registry
	mu       sync.Mutex
	opened   map[string]exec.Runner
}

// openRunners reads the configuration and opens the registry.
func (a *app) openRunners() (*runners, error) {
	c, err := a.configuration()
	if err != nil {
		return nil, err
	}
	dir, err := dataDir("runs")
	if err != nil {
		return nil, err
	}
	r := &runners{config: c, registry: openRegistry(dir), opened: map[string]exec.Runner{}}
	a.atEnd = append(a.atEnd, r.close)
	for _, block := range c.Runners {
		if _, err := r.kind(block.Name); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", block.Range.Filename, block.Range.Start.Line, err)
		}
	}
	return r, nil
}

// openRegistry opens the runs in dir. Who finds one lost ends what is left of it on this
// machine, also where it did not come to opening its runner.
func openRegistry(dir string) *registry.Registry {
	g := registry.Open(dir)
	g.OnLost(local.Name, local.Environment{}.Sweep)
	return g
}

// close lets runners that go on in the background come to an end: one may still be deleting
// what was made for a run that has ended.
func (r *runners) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, runner := range r.opened {
		if c, ok := runner.(io.Closer); ok {
			c.Close()
		}
	}
}

// defaultLogLimit is for each of a run's two logs: more than people read, and less than
// fills a disk unnoticed.
const defaultLogLimit = 1 << 30

// logLimit is how large each log of a run may become, in bytes; 0: as large as it does.
func logLimit(c *config.Config) (int64, error) {
	limit := limitValue(defaultLogLimit)
	if c.LogLimit != "" {
		if err := limit.Set(c.LogLimit); err != nil {
			return 0, fmt.Errorf("%s: defaults: log_limit = %q: %w", c.Path, c.LogLimit, err)
		}
	}
	return int64(limit), nil
}

// fallback is the runner where none is named.
func (r *runners) fallback() string {
	if r.config.Runner != "" {
		return r.config.Runner
	}
	return runnerKinds[0].name
}

// kind returns the kind of a name; "" is the default.
func (r *runners) kind(name string) (runnerKind, error) {
	if name == "" {
		name = r.fallback()
	}
	return kindOf(name)
}

func kindOf(name string) (runnerKind, error) {
	var names []string
	for _, k := range runnerKinds {
		if k.name == name {
			return k, nil
		}
		names = append(names, k.name)
	}
	return runnerKind{}, withHint(fmt.Errorf("no runner %s", name), "There are "+strings.Join(names, ", ")+"; kiln runners says which are usable here.")
}

// open returns the runner of a name; "" is the default.
func (r *runners) open(name string) (exec.Runner, error) {
	k, err := r.kind(name)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opened[k.name] == nil {
		o := runnerSetting{name: k.name, registry: r.registry, config: r.config, self: []string{os.Args[0], "supervise"}}
		for _, block := range r.config.Runners {
			switch block.Name {
			case k.name:
				o.block = block.Body
			case kubernetes.Name:
				o.base = block.Body
			}
		}
		runner, err := k.open(o)
		if err != nil {
			return nil, fmt.Errorf("runner %s: %w", k.name, err)
		}
		r.opened[k.name] = runner
	}
	return r.opened[k.name], nil
}

// find returns the id that begins with prefix.
func (r *runners) find(prefix string) (string, error) {
	id, err := r.registry.Find(prefix)
	if errors.Is(err, exec.ErrNoRun) {
		err = withHint(err, "kiln runs ls lists them.")
	}
	return id, err
}

// A keeper is who knows how a run is.
type keeper interface {
	GetRun(ctx context.Context, id string) (exec.Run, error)
	Wait(ctx context.Context, id string) (exec.Run, error)
	Cancel(ctx context.Context, id string) (exec.Run, error)
	Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error
}

// keeper returns that of a run: its runner, or once it has ended the registry, which
// needs no configuration and asks no environment.
func (r *runners) keeper(id string) (keeper, error) {
	run, err := r.registry.Get(id)
	var damaged *registry.DamagedError
	switch {
	case errors.As(err, &damaged):
		return nil, withHint(err, "kiln runs rm "+id+" removes it.")
	case err != nil:
		return nil, err
	case run.Status.Ended():
		return ended{r.registry, run}, nil
	}
	return r.open(run.Runner)
}

// An ended run does not change any more.
type ended struct {
	*registry.Registry
	run exec.Run
}

func (e ended) GetRun(context.Context, string) (exec.Run, error) { return e.run, nil }
func (e ended) Wait(context.Context, string) (exec.Run, error)   { return e.run, nil }
func (e ended) Cancel(context.Context, string) (exec.Run, error) { return e.run, nil }

// newSuperviseCmd makes the verb that kiln starts itself with for each run that this
// machine carries out.
func newSuperviseCmd(*app) *cobra.Command {
	return &cobra.Command{
		Use: "supervise DIR", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Carry out the run in DIR",
		RunE: func(_ *cobra.Command, args []string) error {
			return supervise.Main(args[0], func(runner string) (supervise.Environment, error) {
				switch runner {
				case rootless.Name:
					return containers(), nil
				case local.Name:
					return local.Environment{}, nil
				}
				return nil, fmt.Errorf("runs of the runner %s have no supervisor", runner)
			})
		},
	}
}

const runnersHelp = `List the runners, where steps and the commands of kiln exec can run, with whether each
is usable from here and if not, why. Looking takes no longer than a few seconds.

config.hcl sets the default, and what a runner needs to know:

  defaults {
    runner    = "container"
    log_limit = "1GiB" # of a run's stdout, and of its stderr; "0": none
  }
  runner "NAME" {
    at_once = 64 # steps on it at a time, those that wait in its queue included
    ...
  }`

// A runnerDoc is a runner in kiln runners --json.
type runnerDoc struct {
	Name    string `json:"name"`
	What    string `json:"what"`
	Default bool   `json:"default"`
	Usable  bool   `json:"usable"`
	Why     string `json:"why,omitempty"` // it is not
}

func newRunnersCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "runners",
		Short: "List the runners and which are usable here",
		Long:  runnersHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			docs, err := a.checkRunners(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(docs)
			}
			return a.printRunners(docs)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// checkPatience is how long a runner may take to say whether it is usable.
const checkPatience = 5 * time.Second

func (a *app) checkRunners(ctx context.Context) ([]runnerDoc, error) {
	r, err := a.openRunners()
	if err != nil {
		return nil, err
	}
	docs := make([]runnerDoc, len(runnerKinds))
	var under sync.WaitGroup
	for i, k := range runnerKinds {
		docs[i] = runnerDoc{Name: k.name, What: k.short, Default: k.name == r.fallback()}
		runner, err := r.open(k.name)
		under.Go(func() {
			if err == nil {
				ctx, stop := context.WithTimeout(ctx, checkPatience)
				defer stop()
				err = runner.Check(ctx)
			}
			if docs[i].Usable = err == nil; err != nil {
				docs[i].Why = err.Error()
			}
		})
	}
	under.Wait()
	return docs, ctx.Err()
}

func (a *app) printRunners(docs []runnerDoc) error {
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	for _, d := range docs {
		usable, mark := "usable", ""
		if !d.Usable {
			usable = "not usable"
		}
		if d.Default {
			mark = " (default)"
		}
		fmt.Fprintf(w, "%s%s\t%s\t%s\n", d.Name, mark, usable, d.What)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, d := range docs {
		if !d.Usable {
			fmt.Fprintf(a.stdout, "\n%s: %s\n", d.Name, d.Why)
		}
	}
	return nil
}
