package main

import (
	"github.com/spf13/cobra"
)

const warehouseHelp = `Look after warehouses: this machine's, and those beyond it. What is beyond it is named
in config.hcl (docs/warehouses.md); where a verb wants a WAREHOUSE, its name there or a
URL will do.`

func newWarehouseCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "warehouse",
		Short: "Look after warehouses, and move wares between them",
		Long:  warehouseHelp,
		Args:  cobra.ArbitraryArgs,
		RunE:  runGroup,
	}
	cmd.AddCommand(newWarehouseDuCmd(a), newWarehouseVerifyCmd(a), newWarehousePushCmd(a), newWarehousePullCmd(a), newWarehouseCopyCmd(a))
	return cmd
}
