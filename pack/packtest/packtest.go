// Package packtest is the suite that every packtype must pass: what is packed comes
// back as it was, with the same ids wherever and by whomever, and whatever a packed
// ware holds, nothing outside the fileset changes. A packtype's tests call Run.
//
// What takes minutes and gigabytes runs only with KILN_TEST_HEAVY=1: make test-heavy.
package packtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// A Packtype is what Run tests.
type Packtype struct {
	// Packtype is the one whose ids are compared: what pack.Options takes. It is
	// empty if the ids are not made of filesets: then the tree ids are compared.
	Packtype string
	// Pack packs the fileset at dir to dst, at which there is nothing, by a tool
	// that is not kiln where there is one. It is nil if the packtype has no packed
	// form that can be read.
	Pack func(t testing.TB, dir, dst string)
	// Encode makes the packed form of these entries and no others, in this order,
	// whatever they are; hostile ones too. It skips the test for one that this form
	// cannot express. It is nil if the form can express none of that.
	Encode func(t testing.TB, dst string, entries ...Entry)
	// Tool unpacks what Encode left at src to dst, at which there is nothing, as a
	// second opinion; it may be nil. It need not take all names: then it says so.
	// ToolErs has the names of those filesets that come out of it otherwise.
	Tool    func(src, dst string) error
	ToolErs map[string]bool
	// EncodeLoses says what of entries Encode does not keep.
	EncodeLoses Loss
	// Unpack makes a ware of what Pack or Encode left at src.
	Unpack func(ctx context.Context, l *warehouse.Local, src string, o pack.BuildOptions) (warehouse.Record, error)
	// Checked says that the packed form has checksums over all that counts.
	Checked bool
	// NoEnd reports whether a packed form that was cut short there has lost only what
	// says nothing, such as padding. It may be nil.
	NoEnd func(file string, at int) bool
	// Takes has the names of those hostile filesets that this form gives a harmless
	// meaning.
	Takes map[string]bool
	// MaxDepth is how many directories deep a path may be; 0: as deep as anywhere.
	MaxDepth int
	// ByComponent says that errors may name a directory on an entry's path, or one
	// component of it.
	ByComponent bool
	// Loses says what of a fileset Pack does not keep.
	Loses Loss
}

func (p Packtype) isTree() bool { return p.Packtype == "" || p.Packtype == pack.Tree }

// Loss is what a packed form leaves out of a fileset.
type Loss uint

const (
	LosesMtimes      Loss = 1 << iota // all have the default one
	LosesNanoseconds                  // of mtimes
	LosesModes                        // all but the owner's executable bit of files
	LosesOwners                       // all belong to 0:0
	LosesEmptyDirs                    // and directories that hold nothing else
	LosesSpecial                      // named pipes and devices
	LosesRoot                         // metadata of the root directory
	LosesLongPaths                    // of more than 4,095 bytes: they can be encoded, the tool cannot pack them
)

// Run tests a packtype.
func Run(t *testing.T, p Packtype) {
	for name, test := range map[string]func(*testing.T, Packtype){
		"round trip": roundTrip,
		"order":      order,
		"filters":    filters,
		"names":      names,
		"deep":       deep,
		"links":      hardlinks,
		"empty":      empty,
		"xattrs":     xattrs,
		"holes":      holes,
		"identity":   identity,
		"twice":      twice,
		"cancelled":  cancelled,
		"full":       full,
		"hostile":    Hostile,
		"heavy":      heavy,
	} {
		t.Run(name, func(t *testing.T) { test(t, p) })
	}
}

// Local opens an empty warehouse for a test, below dir or, if that is "", in a new
// directory.
func Local(t testing.TB, dir string) *warehouse.Local {
	t.Helper()
	if dir == "" {
		dir = tempDir(t)
	}
	l, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

// tempDir is as t.TempDir, for what that could not remove.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "packtest-")
	must(t, err)
	t.Cleanup(func() { must(t, warehouse.RemoveTree(dir)) })
	return dir
}

// NothingLeft fails if something half made, or a ware, is in the warehouse.
func NothingLeft(t testing.TB, l *warehouse.Local) {
	t.Helper()
	staged, err := filepath.Glob(l.Dir() + "/stage/*/*")
	must(t, err)
	work, err := filepath.Glob(l.WorkDir() + "/*")
	must(t, err)
	filesets, err := filepath.Glob(l.Dir() + "/fileset/*/*")
	must(t, err)
	if left := append(append(staged, work...), filesets...); len(left) > 0 {
		t.Errorf("left in the warehouse: %q", left)
	}
	if recs, err := l.List(context.Background()); len(recs) > 0 || err != nil {
		t.Errorf("wares: %v, %v", recs, err)
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
