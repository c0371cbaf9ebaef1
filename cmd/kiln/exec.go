package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/exec/local"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

const execHelp = `Run one command on a runner and wait for it. Its output is kiln's, and so is its exit
code; 124 says that its time was up, 125 that it did not come to running it, or that not
all it wrote is there, and why is on stderr.

The command runs in the root ware, the builtin toolbox unless --root or --image says
otherwise, without a network unless --network, with the environment of a step and
what --env adds. On the runner local it runs on this machine as it is.

Inputs are wares of the local warehouse, by the beginning of their ids. Outputs become
wares when the command has ended well, and are printed as NAME = WAREID on stderr, with
the runs' records in kiln runs show.

The first Ctrl-C cancels the run and waits for its end, the second does not wait. With
-d, kiln prints the id of the run and does not wait: see kiln runs.`

// execFlags are the flags of kiln exec.
type execFlags struct {
	runner, root, image, name, dir, user string
	inputs, outputs, env, labels, mounts []string
	cpus, requestCPUs                    float64
	memory, requestMemory                sizeValue
	logLimit                             limitValue
	pids                                 int64
	timeout                              time.Duration
	network, detach, quiet, ownLimit     bool
	allow                                allowFlag
}

func newExecCmd(a *app) *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:   "exec [flags] [--] COMMAND [ARG...]",
		Short: "Run a command on a runner",
		Long:  execHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MinimumNArgs(1)(cmd, args); err != nil {
				return withCode(codeNotRun, err)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			f.ownLimit = cmd.Flags().Changed("log-limit")
			run, err := a.exec(cmd.Context(), &f, args)
			if err != nil && err != errUnread {
				err = withCode(codeNotRun, err)
			}
			if err != nil {
				return err
			}
			return endOfRun(run)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return withCode(codeNotRun, withHint(err, "See: "+cmd.CommandPath()+" --help"))
	})
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.StringVar(&f.runner, "runner", "", "the `RUNNER` to use (see kiln runners)")
	flags.StringVar(&f.root, "root", "", "the `WARE` that the command sees as /")
	flags.StringVar(&f.image, "image", "", "the `IMAGE` that it sees as /, as the runner's environment names it")
	flags.StringArrayVar(&f.inputs, "input", nil, "`PORT=WARE[,rw]`: a ware at a path, to write to with ,rw (repeatable)")
	flags.StringArrayVar(&f.mounts, "mount", nil, "`PORT=PATH[,rw]`: a path of the runner's machine (repeatable)")
	flags.StringArrayVar(&f.outputs, "output", nil, "`NAME=PATH`: a path that becomes a ware (repeatable)")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "`NAME=VALUE`, or NAME for its value here (repeatable)")
	flags.StringVar(&f.dir, "dir", "", "the working directory")
	flags.StringVar(&f.user, "user", "", "run as `UID[:GID]`")
	flags.StringVar(&f.name, "name", "", "what to call the run")
	flags.StringArrayVar(&f.labels, "label", nil, "`NAME=VALUE` to find the run by (repeatable)")
	flags.Float64Var(&f.cpus, "cpus", 0, "at most so many cores' time")
	flags.Var(&f.memory, "memory", "at most so much memory, such as 512MiB")
	flags.Int64Var(&f.pids, "pids", 0, "at most so many processes and threads")
	flags.Float64Var(&f.requestCPUs, "request-cpus", 0, "cores that a scheduler sets aside")
	flags.Var(&f.requestMemory, "request-memory", "memory that a scheduler sets aside")
	flags.DurationVar(&f.timeout, "timeout", 0, "end it after this time, such as 10m, waiting included")
	flags.Var(&f.logLimit, "log-limit", "keep so much of its stdout, and of its stderr, and then only their ends; 0: all (config.hcl, else 1GiB)")
	flags.BoolVar(&f.network, "network", false, "let it use the network")
	flags.BoolVarP(&f.detach, "detach", "d", false, "print the id of the run and do not wait")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "do not tell that the runner isolates nothing")
	flags.Var(&f.allow, "allow", "`WHAT` is unlimited: run it although a limit cannot be enforced here")
	return cmd
}

// exec submits a run and returns it when it has ended; or at once, as one that went
// well, if it is detached.
func (a *app) exec(ctx context.Context, f *execFlags, command []string) (run exec.Run, err error) {
	r, err := a.openRunners()
	if err != nil {
		return run, err
	}
	kind, err := r.kind(f.runner)
	if err != nil {
		return run, err
	}
	spec, err := a.jobSpec(ctx, f, kind, command)
	if err != nil {
		return run, err
	}
	if spec.LogLimit = int64(f.logLimit); !f.ownLimit {
		if spec.LogLimit, err = logLimit(r.config); err != nil {
			return run, err
		}
	}
	runner, err := r.open(kind.name)
	if err != nil {
		return run, err
	}
	if run, err = runner.Submit(ctx, spec); err != nil {
		return run, err
	}
	a.tellCaveats(run, f.quiet)
	if f.detach {
		fmt.Fprintln(a.stdout, run.ID)
		return exec.Run{Status: exec.RunSucceeded}, nil
	}
	if run, err = a.attend(ctx, runner, run.ID); err != nil {
		return run, err
	}
	for _, o := range spec.Outputs {
		if id, ok := run.Outputs[o.Name]; ok {
			fmt.Fprintf(a.stderr, "%s = %s\n", o.Name, id)
		}
	}
	switch {
	case run.Status != exec.RunSucceeded:
		return run, nil
	case run.Message != "": // then what it wrote is not all there
		err = fmt.Errorf("run %s %s, but %s", run.ID, run.Status, run.Message)
	case run.Unlogged > 0:
		err = withHint(fmt.Errorf("run %s %s, but %s of what it wrote is left out", run.ID, run.Status, byteSize(run.Unlogged)),
			"--log-limit lets more through; 0 all.")
	}
	return run, err
}

// tellCaveats tells what a run has not of what it could have had.
func (a *app) tellCaveats(run exec.Run, quiet bool) {
	if run.Isolation == local.Isolation && !quiet {
		fmt.Fprintln(a.stderr, "kiln: NOT ISOLATED: the command runs as you, sees and may change all that you may, and uses the network")
	}
	for _, limit := range run.Unenforced {
		fmt.Fprintf(a.stderr, "kiln: the limit of %s is not enforced\n", limit)
	}
}

// attend follows a run's logs and returns it when it has ended. When ctx ends, or nobody
// takes what it writes, the run is cancelled.
func (a *app) attend(ctx context.Context, runner exec.Runner, id string) (exec.Run, error) {
	always := context.WithoutCancel(ctx)
	defer context.AfterFunc(ctx, func() {
		fmt.Fprintf(a.stderr, "kiln: cancelling run %s\n", id)
		runner.Cancel(always, id)
	})()
	watching, stop := context.WithCancel(always)
	defer stop()
	go a.tellPending(watching, runner, id)
	// With the signal caught, a pipe that nobody reads is an error of writing.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	stdout, stderr := &checkedWriter{Writer: a.stdout}, &checkedWriter{Writer: a.stderr}
	err := runner.Logs(always, id, true, stdout, stderr)
	if unwritten := cmp.Or(stdout.err, stderr.err); unwritten != nil {
		run, err := runner.Cancel(always, id)
		if err == nil && errors.Is(unwritten, syscall.EPIPE) {
			return run, errUnread
		}
		return run, errors.Join(fmt.Errorf("run %s was cancelled: print what it writes: %w", id, unwritten), err)
	}
	if err != nil {
		return exec.Run{}, err
	}
	return runner.Wait(always, id)
}

// errUnread ends a kiln whose output nobody reads any more, as a shell would see it.
var errUnread = told(withCode(128+int(syscall.SIGPIPE), syscall.EPIPE))

// tellPending tells why a run waits, until it does not any more.
func (a *app) tellPending(ctx context.Context, runner exec.Runner, id string) {
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		run, err := runner.GetRun(ctx, id)
		if err != nil || run.Status != exec.RunPending {
			return
		}
		text := strings.Trim(string(run.Reason)+": "+run.Message, ": ")
		if text != told && text != "" {
			fmt.Fprintf(a.stderr, "kiln: pending: %s\n", harmless(text, false))
		}
		told = text
	}
}

// endOfRun is what kiln ends with for a run that has.
func endOfRun(run exec.Run) error {
	code := run.ExitStatus()
	if code == 0 {
		return nil
	}
	text := fmt.Sprintf("run %s %s", run.ID, run.Status)
	switch {
	case run.Reason == exec.ReasonExit:
		return told(withCode(code, errors.New(text)))
	case run.Reason != "":
		text += ": " + string(run.Reason)
	}
	if run.Message != "" {
		text += ": " + harmless(run.Message, true)
	}
	return withCode(code, errors.New(text))
}

// jobSpec is what the flags ask for.
func (a *app) jobSpec(ctx context.Context, f *execFlags, kind runnerKind, command []string) (exec.JobSpec, error) {
	s := exec.JobSpec{
		Name: f.name, Command: command, Dir: f.dir, User: f.user, Image: f.image, Network: f.network, Timeout: f.timeout,
		Resources: exec.Resources{
			Requests:   exec.Amounts{CPUs: f.requestCPUs, Memory: int64(f.requestMemory)},
			Limits:     exec.Amounts{CPUs: f.cpus, Memory: int64(f.memory), PIDs: f.pids},
			BestEffort: f.allow.Unlimited,
		},
	}
	if s.Name == "" {
		s.Name = s.Title()
	}
	var err error
	if s.Env, err = execEnv(f.env); err != nil {
		return s, err
	}
	if s.Labels, err = pairs("label", f.labels); err != nil {
		return s, err
	}
	return s, withWares(func(l *warehouse.Local) error { return f.places(ctx, a, l, kind, &s) })
}

// places finds the wares that a specification names.
func (f *execFlags) places(ctx context.Context, a *app, l *warehouse.Local, kind runnerKind, s *exec.JobSpec) (err error) {
	switch {
	case f.root != "":
		if s.Root, err = a.wareToRun(ctx, l, f.root); err != nil {
			return err
		}
	case f.image == "" && kind.rooted:
		if err := embedded.PutToolbox(ctx, l); err != nil {
			return err
		}
		if s.Root, err = embedded.ToolboxID(); err != nil {
			return err
		}
	}
	for _, text := range f.inputs {
		port, ware, mode, err := placed("input", text)
		if err != nil {
			return err
		}
		in := exec.JobInput{Port: port, Mode: formula.ReadOnly}
		if mode {
			in.Mode = formula.Overlay
		}
		if in.Ware, err = a.wareToRun(ctx, l, ware); err != nil {
			return err
		}
		s.Inputs = append(s.Inputs, in)
	}
	for _, text := range f.mounts {
		port, path, writable, err := placed("mount", text)
		if err != nil {
			return err
		}
		s.Mounts = append(s.Mounts, exec.JobMount{Port: port, Host: path, Writable: writable})
	}
	outputs, err := pairs("output", f.outputs)
	for name, path := range outputs {
		s.Outputs = append(s.Outputs, exec.JobOutput{Name: name, Path: path, Packtype: pack.Tree})
	}
	return err
}

// wareToRun returns the id of a ware by its beginning. One that is whole and not here is
// fetched, if a warehouse has it.
func (a *app) wareToRun(ctx context.Context, l *warehouse.Local, text string) (warehouse.WareID, error) {
	rec, err := findWare(ctx, l, text)
	id, parseErr := warehouse.ParseWareID(text)
	if !errors.Is(err, warehouse.ErrMissing) || parseErr != nil {
		return rec.ID, err
	}
	c, configErr := a.configuration()
	if configErr != nil {
		return id, configErr
	}
	shared, openErr := a.openShared(c, nil, l, nil)
	if openErr != nil {
		return id, openErr
	}
	if _, fetchErr := shared.Fetch(ctx, id, nil); fetchErr != nil && !errors.Is(fetchErr, warehouse.ErrMissing) {
		return id, fetchErr
	} else if fetchErr != nil {
		return id, err
	}
	return id, nil
}

// execEnv is the environment of a step, with own variables.
func execEnv(own []string) ([]string, error) {
	var variables []bundle.Variable
	for _, text := range own {
		name, value, given := strings.Cut(text, "=")
		if !given {
			if value, given = os.LookupEnv(name); !given {
				return nil, fmt.Errorf("option --env %s: there is no such variable here", name)
			}
		}
		variables = append(variables, bundle.Variable{Name: name, Value: value})
	}
	return bundle.Environment(variables), nil
}

// pairs reads NAME=VALUE, each name once.
func pairs(option string, texts []string) (map[string]string, error) {
	all := map[string]string{}
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if _, twice := all[name]; !ok || name == "" || twice {
			return nil, fmt.Errorf("option --%s %s: want NAME=VALUE, each name once", option, text)
		}
		all[name] = value
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

// placed reads PORT=WHAT[,rw].
func placed(option, text string) (port, what string, writable bool, err error) {
	text1, writable := strings.CutSuffix(text, ",rw")
	port, what, ok := strings.Cut(strings.TrimSuffix(text1, ",ro"), "=")
	if !ok || port == "" || what == "" {
		return "", "", false, fmt.Errorf("option --%s %s: want PORT=WHAT, and ,rw behind it to write there", option, text)
	}
	return port, what, writable, nil
}
