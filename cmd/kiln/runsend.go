package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec"
)

func newRunsWaitCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "wait RUN",
		Short: "Wait for a run to end; the exit code is its command's",
		Args:  cobra.ExactArgs(1),

		ValidArgsFunction: a.completeRuns(1, nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRun(args[0], func(k keeper, id string) error {
				run, err := k.Wait(cmd.Context(), id)
				if err != nil {
					return err
				}
				return endOfRun(run)
			})
		},
	}
}

func newRunsCancelCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel RUN...",
		Short: "End runs: SIGTERM, and after a few seconds SIGKILL",
		Long:  "End runs and wait until they have ended. Those that have already stay as they are.",
		Args:  cobra.MinimumNArgs(1),

		ValidArgsFunction: a.completeRuns(0, func(run exec.Run) bool { return !run.Status.Ended() }),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachRun(args, func(r *runners, id string) error {
				k, err := r.keeper(id)
				if err != nil {
					return err
				}
				run, err := k.Cancel(cmd.Context(), id)
				if err == nil && run.Status != exec.RunCancelled {
					fmt.Fprintf(a.stderr, "run %s had ended before: %s\n", id, runState(run))
				}
				return err
			})
		},
	}
}

// eachRun finds all the runs before it uses any.
func (a *app) eachRun(prefixes []string, use func(r *runners, id string) error) error {
	r, err := a.openRunners()
	if err != nil {
		return err
	}
	var ids []string
	var errs []error
	for _, prefix := range prefixes {
		id, err := r.find(prefix)
		if err != nil {
			errs = append(errs, err)
		} else if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, id := range ids {
		errs = append(errs, use(r, id))
	}
	return errors.Join(errs...)
}

const runsRmHelp = `Remove runs that have ended, with their logs; or with --ended, all of those that the
other flags choose, such as kiln runs rm --ended --older 168h. A run that goes on is
refused: cancel it first.

kiln gc removes runs that ended longer ago than --keep-days, too.`

func newRunsRmCmd(a *app) *cobra.Command {
	var f runsFilter
	var ended bool
	cmd := &cobra.Command{
		Use:   "rm RUN... | --ended",
		Short: "Remove runs that have ended",
		Long:  runsRmHelp,

		ValidArgsFunction: a.completeRuns(0, func(run exec.Run) bool { return run.Status.Ended() }),
		RunE: func(cmd *cobra.Command, args []string) error {
			if ended == (len(args) > 0) {
				return errors.New("kiln runs rm: want runs by their ids, or --ended")
			}
			if ended {
				return a.removeEnded(cmd.Context(), &f)
			}
			return a.eachRun(args, func(r *runners, id string) error {
				if k, err := r.keeper(id); err == nil { // it may have ended without anybody having looked
					if _, err := k.GetRun(cmd.Context(), id); err != nil && !errors.Is(err, exec.ErrNoRun) {
						fmt.Fprintf(a.stderr, "warning: %v\n", err)
					}
				}
				return r.registry.Remove(id)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&ended, "ended", false, "remove every run that has ended")
	return cmd
}

func (a *app) removeEnded(ctx context.Context, f *runsFilter) error {
	r, err := a.openRunners()
	if err != nil {
		return err
	}
	runs, err := a.listRuns(ctx, f)
	errs := []error{err, r.registry.Sweep()}
	for _, run := range runs {
		if run.Status.Ended() {
			errs = append(errs, r.registry.Remove(run.ID))
		}
	}
	return errors.Join(errs...)
}
