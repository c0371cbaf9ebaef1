package oci

import (
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// BenchmarkToolchain moves a whole ware into and out of a registry, and what curl does.
func BenchmarkToolchain(b *testing.B) {
	var r *Repository
	warehousetest.BenchToolchain(b, func() warehouse.Store {
		r = open(b, "oci://"+start(b, false)+"/wares", Options{}) // since a registry deletes nothing
		return packed.New(r)
	}, func(id warehouse.WareID) string {
		list, err := r.find(b.Context(), id.String())
		must(b, err)
		command := "curl -sf"
		for _, piece := range list {
			command += " http://" + r.repo.RegistryStr() + "/v2/wares/blobs/" + piece.Digest.String()
		}
		return command
	})
}
