package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

const lockHelp = `Resolve every ware of the formula and write what url and builtin wares are to
kiln.lock.hcl beside it. What is locked already stays as it is; entries of wares
that are gone from the formula are dropped.

path wares are read anew by every run and id wares name themselves, so neither is
in the lock file.`

func newLockCmd(a *app) *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "lock [FILE|DIR]",
		Short: "Resolve every ware and write the lock file",
		Long:  lockHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.parse(args)
			return a.relock(cmd, &f)
		},
	}
	f.add(cmd)
	return cmd
}

const updateHelp = `Resolve the given wares anew, or all of them, and write the lock file. A ware is
named by its address, such as ware.lua or lua.

A url with a sha256 can only ever be one ware, so that its entry stays.`

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
