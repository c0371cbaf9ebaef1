package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/exec/delegate/inside"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/stores"
)

// newHelperCmd makes the verb that runners start in other environments. It is no
// business of people, and the help does not list it.
func newHelperCmd(*app) *cobra.Command {
	return &cobra.Command{
		Use:                delegate.Verb + " PAYLOAD",
		Short:              "Run one command for a runner, in the container that it made",
		Hidden:             true,
		DisableFlagParsing: true,
		Args:               cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 && args[0] == delegate.Install {
				return inside.Install(args[1])
			}
			if args[0] == inside.EnterVerb {
				inside.Enter()
				return told(errors.New("the command could not be started")) // Enter has said why
			}
			p, err := delegate.Parse(args)
			if err != nil {
				return err
			}
			// A signal is for the command: the helper ends when that has.
			result, err := inside.Serve(context.WithoutCancel(cmd.Context()), p, openStore)
			if code := result.ExitStatus(); err == nil && code != 0 {
				err = told(withCode(code, errors.New(result.Message)))
			}
			return err
		},
	}
}

// openStore opens the warehouse at a URL, with the credentials in the helper's environment;
// those of buckets are where other programs look for them too.
func openStore(ctx context.Context, place string) (warehouse.Store, error) {
	return stores.Open(ctx, place, stores.Options{
		Token: os.Getenv("KILN_WAREHOUSE_TOKEN"), Username: os.Getenv("KILN_WAREHOUSE_USERNAME"), Password: os.Getenv("KILN_WAREHOUSE_PASSWORD"),
	})
}
