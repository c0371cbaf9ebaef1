package warehouse

import (
	"errors"
	"fmt"
)

// ErrOtherTree says that content has the right ware id but another tree id than
// what is trusted by that ware id: it differs in what the packtype does not hash.
var ErrOtherTree = errors.New("another fileset with the same id")

// An OtherTreeError tells which two. It matches ErrOtherTree.
type OtherTreeError struct {
	ID        WareID
	Have, Got WareID // tree ids
	Where     string // what has Have: "the warehouse", "the lock file"
}

func (e *OtherTreeError) Error() string {
	msg := fmt.Sprintf("ware %s: %v: in %s it is %s, and this is %s", e.ID, ErrOtherTree, e.Where, e.Have, e.Got)
	if e.ID.Packtype == "tar" || e.ID.Packtype == "zip" {
		msg += fmt.Sprintf("; packtype %s does not hash symlinks, named pipes, devices and hard links, and one of those differs", e.ID.Packtype)
	}
	return msg
}

// Is makes every OtherTreeError match ErrOtherTree.
func (e *OtherTreeError) Is(target error) bool { return target == ErrOtherTree }

// CheckTree returns an OtherTreeError if rec, which has come from elsewhere, is not the
// fileset that is trusted by its id. A record without a tree id, of an old kiln, is.
func (rec Record) CheckTree(trusted WareID, where string) error {
	if trusted == rec.Tree || trusted.IsZero() || rec.Tree.IsZero() {
		return nil
	}
	return &OtherTreeError{rec.ID, trusted, rec.Tree, where}
}
