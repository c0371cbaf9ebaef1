package formula

import (
	"strings"

	"github.com/kilnbuild/kiln/internal/lazyregexp"
)

// Lengths are looked at apart from the patterns: a pattern with a count as large as
// these takes a quarter of a millisecond to compile.
var (
	nameForm = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	tagForm  = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	hexForm  = lazyregexp.New(`^[0-9a-f]+$`)
	itemForm = lazyregexp.New(`^[a-z0-9][a-z0-9./-]*:[^:/]+:[^:]+$`) // of a catalog
)

const (
	maxName = 128 // characters of the name of a block
	maxTag  = 128 // OCI distribution specification
)

func validName(s string) bool { return len(s) <= maxName && nameForm.MatchString(s) }

// ValidName reports whether s can name a block.
func ValidName(s string) bool { return validName(s) }

func validTag(s string) bool { return len(s) <= maxTag && tagForm.MatchString(s) }

// validDigest reports whether s is ALGORITHM:HEX of an algorithm that images use.
func validDigest(s string) bool {
	algorithm, hex, _ := strings.Cut(s, ":")
	return len(hex) == map[string]int{"sha256": 64, "sha512": 128}[algorithm] && hexForm.MatchString(hex)
}
