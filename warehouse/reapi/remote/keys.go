package remote

import (
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
)

// WareAction returns the digest under which the ActionResult of a ware is kept, and
// MemoAction that of a memo: docs/formats.md, "Wares and memos over REAPI". They are
// those of real Action messages, of commands that nobody runs.
func WareAction(id warehouse.WareID) Digest { return actionOf("ware", id.String()) }

// MemoAction returns the digest under which a memo is kept.
func MemoAction(key warehouse.StepKey) Digest { return actionOf("memo", string(key)) }

func actionOf(kind, name string) Digest {
	command := DigestOf(grpc.Marshal(&Command{Arguments: []string{"kiln", kind, name}}))
	root := DigestOf(nil) // an empty Directory
	return DigestOf(grpc.Marshal(&Action{Command: &command, InputRoot: &root}))
}
