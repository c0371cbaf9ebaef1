package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

const lockHelp = `Resolve every ware of the formula and write what url, git, oci, catalog and
builtin wares are to kiln.lock.hcl beside it. What is locked already stays as it is; entries of wares
that are gone from the formula are dropped.

path wares are read anew by every run and tree ids name themselves, so neither is
in the lock file.

With --check, nothing is written: what would change is told, and the exit code is 1
if anything would. That is for CI, where the committed lock file has to be the one
that is used. When all is locked, it needs no network.

An id that is not what the sha256, commit or digest beside it has given on this
machine is an edited one: exit code 102, here as in a run. With --check --fetch that
is also found where nothing is known yet: what url, git and oci wares are is fetched
again as the lock file pins it, and has to make the wares that the lock file names.`

func newLockCmd(a *app) *cobra.Command {
	var f planFlags
	var check, fetch bool
	cmd := &cobra.Command{
		Use:   "lock [FILE|DIR]",
		Short: "Resolve every ware and write the lock file",
		Long:  lockHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.parse(args)
			switch {
			case check:
				return a.checkLock(cmd, &f, fetch)
			case fetch:
				return errors.New("--fetch is a part of --check")
			}
			return a.relock(cmd, &f)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; fail if the lock file would change")
	cmd.Flags().BoolVar(&fetch, "fetch", false, "with --check, fetch what is locked again, and compare")
	return cmd
}

const updateHelp = `Resolve the given wares anew, or all of them, and write the lock file. A ware is
named by its address, such as ware.lua or lua.

A url with a sha256 can only ever be one ware, so that its entry stays if it is known
here to be right. If it is not known, it is found out for wares that are given.`

func newUpdateCmd(a *app) *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "update [WARE...]",
		Short: "Resolve wares anew and write the lock file",
		Long:  updateHelp,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.update, f.updateAll = args, len(args) == 0
			return a.relock(cmd, &f)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&f.path, "formula", "f", ".", "the formula, a `FILE|DIR`")
	return cmd
}

func (a *app) relock(cmd *cobra.Command, f *planFlags) error {
	s, err := a.openSession(cmd.Context(), f)
	if err != nil {
		return err
	}
	defer s.close()
	changes, err := a.lock(s, true)
	if err == nil && len(changes) == 0 {
		fmt.Fprintln(a.stderr, "the lock file is up to date")
	}
	return err
}

// checkLock tells what relock would change.
func (a *app) checkLock(cmd *cobra.Command, f *planFlags, fetch bool) error {
	s, err := a.openSession(cmd.Context(), f)
	if err != nil {
		return err
	}
	defer s.close()
	changes, diags := s.plan.CheckLock()
	if err := a.diagnosePlan(diags, s.plan.Formula.Sources); err != nil {
		return err
	}
	for _, c := range changes {
		fmt.Fprintln(a.stderr, "would lock", c)
	}
	if fetch {
		err := a.diagnosePlan(s.plan.VerifyLock(cmd.Context()), s.plan.Formula.Sources)
		if err != nil {
			return err
		}
	}
	switch len(changes) {
	case 0:
		fmt.Fprintln(a.stderr, "the lock file is up to date")
		return nil
	case 1:
		err = fmt.Errorf("%s is not up to date: 1 entry would change", s.lockAt)
	default:
		err = fmt.Errorf("%s is not up to date: %d entries would change", s.lockAt, len(changes))
	}
	return withHint(err, "Run kiln lock, look at what it changes, and commit the file.")
}
