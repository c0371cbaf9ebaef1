package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/exec/delegate/inside"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/file"
	"github.com/kilnbuild/kiln/warehouse/packed"
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

// openStore opens the warehouse at a URL.
func openStore(_ context.Context, place string) (warehouse.Store, error) {
	u, err := url.Parse(place)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "file" && u.Scheme != "ca+file" {
		return nil, fmt.Errorf("%s: the helper opens no warehouse of that kind", u.Redacted())
	}
	objects, err := file.Open(u.Path)
	if err != nil {
		return nil, err
	}
	return packed.New(objects), nil
}
