package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
)

const runsHelp = `Look at runs, of this kiln and of others, and end them.

A run is one submission to a runner: by kiln exec, or by kiln run for a step of another
runner than its own containers. Wherever one is asked for, the beginning of its id is
enough, as long as only one run's id begins so.`

func newRunsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List, follow, cancel and remove runs",
		Long:  runsHelp,
		Args:  cobra.ArbitraryArgs,
		RunE:  runGroup,
	}
	cmd.AddCommand(newRunsLsCmd(a), newRunsShowCmd(a), newRunsLogsCmd(a), newRunsWaitCmd(a), newRunsCancelCmd(a), newRunsRmCmd(a))
	return cmd
}

// runsFilter is the flags that choose runs.
type runsFilter struct {
	status, labels []string
	name, runner   string
	since, older   time.Duration
}

func (f *runsFilter) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.status, "status", nil, "only runs of this `STATUS`: pending, running, succeeded, failed or cancelled (repeatable)")
	flags.StringArrayVar(&f.labels, "label", nil, "only runs with the label `NAME=VALUE` (repeatable)")
	flags.StringVar(&f.name, "name", "", "only runs of this name")
	flags.StringVar(&f.runner, "runner", "", "only runs of this `RUNNER`")
	flags.DurationVar(&f.since, "since", 0, "only runs of the last `TIME`, such as 24h")
	flags.DurationVar(&f.older, "older", 0, "only runs submitted longer ago than `TIME`, such as 168h")
}

func (f *runsFilter) parse() (r exec.RunFilter, err error) {
	r.Name = f.name
	if r.Labels, err = pairs("label", f.labels); err != nil {
		return r, err
	}
	for _, s := range f.status {
		if !slices.Contains(exec.RunStatuses, exec.RunStatus(s)) {
			return r, fmt.Errorf("option --status %s: want pending, running, succeeded, failed or cancelled", s)
		}
		r.Status = append(r.Status, exec.RunStatus(s))
	}
	for _, o := range []struct {
		name string
		ago  time.Duration
		at   *time.Time
	}{{"since", f.since, &r.Since}, {"older", f.older, &r.Before}} {
		if o.ago < 0 {
			return r, fmt.Errorf("option --%s %s: want a time that has passed, such as 24h", o.name, o.ago)
		}
		if o.ago > 0 {
			*o.at = time.Now().Add(-o.ago)
		}
	}
	return r, nil
}

func newRunsLsCmd(a *app) *cobra.Command {
	var f runsFilter
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List runs, the oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			runs, err := a.listRuns(cmd.Context(), &f)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(runs)
			}
			return a.printRuns(runs)
		},
	}
	f.add(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// listRuns returns the runs that f chooses, as their environments know them: of those
// that are out of reach, as they were known last.
func (a *app) listRuns(ctx context.Context, f *runsFilter) ([]exec.Run, error) {
	filter, err := f.parse()
	if err != nil {
		return nil, err
	}
	r, err := a.openRunners()
	if err != nil {
		return nil, err
	}
	wide := filter
	wide.Status = nil // it may have changed
	runs, err := r.registry.List(f.runner, wide)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(a.stderr, "warning: %s\n", harmless(line, false))
		}
		fmt.Fprintln(a.stderr, "kiln runs rm RUN removes a run whose record is of no use.")
	}
	r.refresh(ctx, runs, a.stderr)
	runs = slices.DeleteFunc(runs, func(run exec.Run) bool { return !filter.Match(run) })
	if runs == nil {
		runs = []exec.Run{}
	}
	return runs, ctx.Err()
}

// refresh asks the environments of runs that have not ended how they are.
func (r *runners) refresh(ctx context.Context, runs []exec.Run, warn io.Writer) {
	ctx, stop := context.WithTimeout(ctx, checkPatience)
	defer stop()
	asked := map[string]bool{} // environments
	for i, run := range runs {
		if run.Status.Ended() {
			continue
		}
		if !asked[run.Runner] {
			asked[run.Runner] = true
			if err := r.ask(ctx, run.Runner); err != nil {
				fmt.Fprintf(warn, "warning: runs of the runner %s are shown as they were known last: %v\n", run.Runner, err)
			}
		}
		if now, err := r.registry.Get(run.ID); err == nil {
			runs[i] = now
		}
	}
}

// ask brings the records of all runs of a runner that go on up to date. Those that are damaged
// have been told of.
func (r *runners) ask(ctx context.Context, name string) error {
	runner, err := r.open(name)
	if err != nil {
		return err
	}
	_, err = runner.ListRuns(ctx, exec.RunFilter{Status: []exec.RunStatus{exec.RunPending, exec.RunRunning}})
	var damaged *registry.DamagedError
	if errors.As(err, &damaged) {
		return nil
	}
	return err
}

func (a *app) printRuns(runs []exec.Run) error {
	if len(runs) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tRUNNER\tSTATUS\tTOOK\tCREATED\tNAME")
	for _, run := range runs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", run.ID, run.Runner, runState(run), runTook(run),
			run.Created.Local().Format(time.DateTime), harmless(run.Name, false))
	}
	return w.Flush()
}

// runState says how a run is, in a few words.
func runState(run exec.Run) string {
	switch {
	case run.Reason == exec.ReasonExit && run.ExitCode != nil:
		return fmt.Sprintf("%s: exit %d", run.Status, *run.ExitCode)
	case run.Reason == exec.ReasonSignal:
		return fmt.Sprintf("%s: signal %d", run.Status, run.Signal)
	case run.Reason != "":
		return fmt.Sprintf("%s: %s", run.Status, run.Reason)
	}
	return string(run.Status)
}

func runTook(run exec.Run) string {
	switch {
	case run.Started.IsZero():
		return "-"
	case run.Ended.IsZero():
		return seconds(time.Since(run.Started))
	}
	return seconds(run.Ended.Sub(run.Started))
}

func newRunsShowCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "show RUN",
		Short:             "Show what is known of a run",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRuns(1, nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRun(args[0], func(k keeper, id string) error {
				run, err := k.GetRun(cmd.Context(), id)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(run)
				}
				return a.printRun(run)
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// withRun finds a run for use.
func (a *app) withRun(prefix string, use func(k keeper, id string) error) error {
	r, err := a.openRunners()
	if err != nil {
		return err
	}
	id, err := r.find(prefix)
	if err != nil {
		return err
	}
	k, err := r.keeper(id)
	if err != nil {
		return err
	}
	return use(k, id)
}

func (a *app) printRun(run exec.Run) error {
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	line := func(name string, value any) { fmt.Fprintf(w, "%s\t%s\n", name, harmless(fmt.Sprint(value), false)) }
	at := func(name string, t time.Time) {
		if !t.IsZero() {
			line(name, t.Local().Format("2006-01-02 15:04:05.000"))
		}
	}
	line("id", run.ID)
	line("name", run.Name)
	line("runner", run.Runner)
	line("status", runState(run))
	if run.Message != "" {
		line("message", run.Message)
	}
	if run.Entry != nil {
		line("failed in", fmt.Sprintf("script entry %d", *run.Entry+1))
	}
	at("created", run.Created)
	at("started", run.Started)
	at("ended", run.Ended)
	line("isolation", run.Isolation)
	line("offline", run.Offline)
	if len(run.Unenforced) > 0 {
		line("not limited", strings.Join(run.Unenforced, ", "))
	}
	if !run.Spec.Root.IsZero() {
		line("root", run.Spec.Root)
	}
	if run.Spec.Image != "" {
		line("image", run.Spec.Image)
	}
	for _, in := range run.Spec.Inputs {
		line("input "+in.Port, in.Ware)
	}
	for _, o := range run.Spec.Outputs {
		if id, ok := run.Outputs[o.Name]; ok {
			line("output "+o.Name, id)
		}
	}
	if run.Unlogged > 0 {
		line("not logged", byteSize(run.Unlogged))
	}
	line("command", shellWords(run.Spec.Command))
	line("directory", run.Dir)
	return w.Flush()
}

// completeRuns completes the ids of runs that want lets through (nil: all), for the first
// most arguments (0: for all).
func (a *app) completeRuns(most int, want func(exec.Run) bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, toComplete string) (ids []cobra.Completion, _ cobra.ShellCompDirective) {
		const nothingElse = cobra.ShellCompDirectiveNoFileComp
		r, err := a.openRunners()
		if err != nil || most > 0 && len(args) >= most {
			return nil, nothingElse
		}
		runs, _ := r.registry.List("", exec.RunFilter{})
		for _, run := range runs {
			if strings.HasPrefix(run.ID, toComplete) && !slices.Contains(args, run.ID) && (want == nil || want(run)) {
				about := fmt.Sprintf("%s, %s, %s, %s", run.Name, run.Runner, runState(run), run.Created.Local().Format(time.DateTime))
				ids = append(ids, cobra.CompletionWithDesc(run.ID, harmless(about, false)))
			}
		}
		return ids, nothingElse
	}
}

func newRunsLogsCmd(a *app) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:               "logs RUN",
		Short:             "Print what a run has written",
		Long:              "Print what a run has written: its stdout on stdout, its stderr on stderr.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRuns(1, nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRun(args[0], func(k keeper, id string) error {
				return k.Logs(cmd.Context(), id, follow, a.stdout, a.stderr)
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "and what it goes on to write, until it ends")
	return cmd
}
