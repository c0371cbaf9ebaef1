package plan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/sys/unix"
)

// LockName is the name of the lock file in the root formula's directory.
const LockName = "kiln.lock.hcl"

const lockVersion = 1

const lockHeader = `# What the sources of this formula resolved to. kiln writes this file and obeys
# it: commit it. "kiln update" resolves anew.
`

// A LockEntry is what one url, git, oci or builtin source resolved to, with as much of the
// source as tells whether the formula still means the same.
type LockEntry struct {
	Builtin string
	URL     string // without the password, if it had one
	Strip   int
	Filters string
	SHA256  string // url: of the bytes fetched, 64 hex digits

	Git, Ref, Subdir string // git: as in the formula; the url without the password
	NoSubmodules     bool
	Include, Exclude string // git, oci: patterns, see joinPatterns
	Commit           string // git: 40 or 64 hex digits

	OCI      string // as in the formula
	Platform string // oci: never left out
	Digest   string // oci: of what the reference named, an index or a manifest
	Manifest string // oci: of the manifest for the platform; "" if it is Digest

	From string // id: the ware id in the formula

	Catalog string // as in the formula
	Mirrors string // catalog: addresses, see joinPatterns; without passwords

	ID   warehouse.WareID
	Tree warehouse.WareID // id, catalog: of the fileset of From or ID, unless that is a tree
}

// matches reports whether e was made from src.
func (e LockEntry) matches(src formula.Source) bool {
	switch src.Kind {
	case formula.SourceBuiltin:
		return e.Builtin == src.Builtin && canonicalFilters(e.Filters) == canonicalFilters(src.Filters) && e.URL == "" && e.Git == "" && e.OCI == ""
	case formula.SourceID:
		return e.From == src.ID && canonicalFilters(e.Filters) == canonicalFilters(src.Filters)
	case formula.SourceCatalog:
		return e.Catalog == src.Catalog
	case formula.SourceGit:
		want := gitEntry(src)
		want.Commit, want.ID = e.Commit, e.ID
		want.Filters, e.Filters = canonicalFilters(want.Filters), canonicalFilters(e.Filters)
		return e == want
	case formula.SourceOCI:
		want := ociEntry(src)
		want.Digest, want.Manifest, want.ID = e.Digest, e.Manifest, e.ID
		want.Filters, e.Filters = canonicalFilters(want.Filters), canonicalFilters(e.Filters)
		return e == want
	case formula.SourceURL:
		return e.Builtin == "" && e.URL == redactURL(src.URL) && e.Strip == src.Strip &&
			canonicalFilters(e.Filters) == canonicalFilters(src.Filters) &&
			(src.SHA256 == "" || strings.EqualFold(src.SHA256, e.SHA256))
	}
	return false
}

// lockFile is a lock file as read: what it says and its bytes, nil if there is none.
type lockFile struct {
	entries map[string]LockEntry // by ware address
	bytes   []byte
}

// lockSchema is docs/formats.md, section 10, for gohcl.
type lockSchema struct {
	Version int `hcl:"version"`
	Wares   []struct {
		Addr    string  `hcl:"addr,label"`
		Builtin *string `hcl:"builtin"`
		URL     *string `hcl:"url"`
		Strip   *int    `hcl:"strip"`
		Filters *string `hcl:"filters"`
		SHA256  *string `hcl:"sha256"`

		Git        *string  `hcl:"git"`
		Ref        *string  `hcl:"ref"`
		Subdir     *string  `hcl:"subdir"`
		Submodules *bool    `hcl:"submodules"`
		Include    []string `hcl:"include,optional"`
		Exclude    []string `hcl:"exclude,optional"`
		Commit     *string  `hcl:"commit"`

		OCI      *string `hcl:"oci"`
		Platform *string `hcl:"platform"`
		Digest   *string `hcl:"digest"`
		Manifest *string `hcl:"manifest"`

		From *string `hcl:"from"`

		Catalog *string  `hcl:"catalog"`
		Mirrors []string `hcl:"mirrors,optional"`

		ID   string  `hcl:"id"`
		Tree *string `hcl:"tree"`

		Range hcl.Range `hcl:",def_range"`
	} `hcl:"ware,block"`
}

// readLock reads the lock file at path; one that does not exist has no entries.
// The second result is for printing the diagnostics.
func readLock(path string) (lockFile, *hcl.File, hcl.Diagnostics) {
	lock := lockFile{entries: map[string]LockEntry{}}
	src, err := readLockFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return lock, nil, nil
	}
	if err != nil {
		return lock, nil, lockDiag(path, "Unreadable lock file", err.Error(), err)
	}
	lock.bytes = src
	file := &hcl.File{Bytes: src}
	if diags := conflictMarkers(path, src); diags.HasErrors() {
		return lock, file, diags
	}
	file, diags := formula.Parse(src, path)
	if diags.HasErrors() {
		return lock, file, diags
	}
	// The version is read first: a newer one may have anything else in it.
	attrs, _, _ := file.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "version"}}})
	if v := attrs.Attributes["version"]; v != nil {
		var version int
		if diags := gohcl.DecodeExpression(v.Expr, nil, &version); diags.HasErrors() {
			return lock, file, diags
		}
		if version != lockVersion {
			return lock, file, hcl.Diagnostics{{
				Severity: hcl.DiagError, Summary: "Unknown version of the lock file",
				Detail:  fmt.Sprintf("This kiln reads version %d, the file has version %d. Use a kiln that knows it, or remove the file and run kiln lock to resolve every source anew.", lockVersion, version),
				Subject: v.Expr.Range().Ptr(),
			}}
		}
	}
	diags = lock.decode(file)
	return lock, file, diags
}

// maxLock is how large a lock file may be: room for 20,000 wares.
const maxLock = 8 << 20

func readLockFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // does not wait for a named pipe
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > maxLock:
		return nil, fmt.Errorf("%s is larger than %d MiB", path, maxLock>>20)
	}
	return io.ReadAll(io.LimitReader(f, maxLock))
}

func (l *lockFile) decode(file *hcl.File) hcl.Diagnostics {
	var raw lockSchema
	diags := gohcl.DecodeBody(file.Body, nil, &raw)
	if diags.HasErrors() {
		return diags
	}
	for _, w := range raw.Wares {
		wrong := func(detail string) {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Invalid entry in the lock file",
				Detail:  detail + " Remove the entry and run kiln lock to resolve the ware anew.",
				Subject: w.Range.Ptr(),
			})
		}
		id, err := warehouse.ParseWareID(w.ID)
		tree, treeErr := parseTree(deref(w.Tree))
		switch _, twice := l.entries[w.Addr]; {
		case treeErr != nil:
			wrong(fmt.Sprintf("The tree of %s cannot be read: %s.", w.Addr, treeErr))
		case err != nil:
			wrong(fmt.Sprintf("The id of %s cannot be read: %s.", w.Addr, err))
		case !oneSet(w.Builtin, w.URL, w.Git, w.OCI, w.From, w.Catalog):
			wrong(fmt.Sprintf("%s must have one of builtin, url, git, oci, catalog and from.", w.Addr))
		case deref(w.Git) != "" && !wholeCommit.MatchString(deref(w.Commit)):
			wrong(fmt.Sprintf("The commit of %s is none.", w.Addr))
		case deref(w.OCI) != "" && !wholeDigests(deref(w.Digest), deref(w.Manifest)):
			wrong(fmt.Sprintf("The digest of %s is none.", w.Addr))
		case deref(w.SHA256) != "" && !wholeSum.MatchString(deref(w.SHA256)):
			wrong(fmt.Sprintf("The sha256 of %s is none.", w.Addr))
		case twice:
			wrong(fmt.Sprintf("%s is in the file twice.", w.Addr))
		}
		l.entries[w.Addr] = LockEntry{
			Builtin: deref(w.Builtin), URL: deref(w.URL), Strip: deref(w.Strip),
			Filters: deref(w.Filters), SHA256: deref(w.SHA256), ID: id,
			Git: deref(w.Git), Ref: deref(w.Ref), Subdir: deref(w.Subdir), Commit: deref(w.Commit),
			NoSubmodules: w.Submodules != nil && !*w.Submodules,
			Include:      joinPatterns(w.Include), Exclude: joinPatterns(w.Exclude),
			OCI: deref(w.OCI), Platform: deref(w.Platform), Digest: deref(w.Digest), Manifest: deref(w.Manifest),
			From: deref(w.From), Tree: tree, Catalog: deref(w.Catalog), Mirrors: joinPatterns(w.Mirrors),
		}
	}
	return diags
}

// parseTree reads a tree id, "" as none.
func parseTree(text string) (id warehouse.WareID, err error) {
	if text == "" {
		return id, nil
	}
	if id, err = warehouse.ParseWareID(text); err == nil && id.Packtype != pack.Tree {
		err = fmt.Errorf("%s is no tree", text)
	}
	return id, err
}

var wholeSum = lazyregexp.New(`^[0-9a-fA-F]{64}$`)

// oneSet reports whether exactly one of texts says something.
func oneSet(texts ...*string) bool {
	n := 0
	for _, t := range texts {
		if deref(t) != "" {
			n++
		}
	}
	return n == 1
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// conflictMarkers finds what git leaves in a file that two branches changed, which
// would otherwise be told as a syntax error.
func conflictMarkers(path string, src []byte) hcl.Diagnostics {
	offset := 0
	for i, line := range bytes.Split(src, []byte("\n")) {
		for _, marker := range []string{"<<<<<<<", "=======", ">>>>>>>"} {
			if !bytes.HasPrefix(line, []byte(marker)) {
				continue
			}
			start := hcl.Pos{Line: i + 1, Column: 1, Byte: offset}
			end := hcl.Pos{Line: i + 1, Column: len(line) + 1, Byte: offset + len(line)}
			return hcl.Diagnostics{{
				Severity: hcl.DiagError, Summary: "Merge conflict in the lock file",
				Detail:  "Two branches changed the same entries. Keep one side, or remove the entries in conflict and run kiln lock to resolve them anew.",
				Subject: &hcl.Range{Filename: path, Start: start, End: end},
			}}
		}
		offset += len(line) + 1
	}
	return nil
}

// format gives the lock file's text for entries: sorted by address, one attribute
// a line, so that a change of one ware is a change of few lines.
func formatLock(entries map[string]LockEntry) []byte {
	f := hclwrite.NewEmptyFile()
	f.Body().SetAttributeValue("version", cty.NumberIntVal(lockVersion))
	for _, addr := range slices.Sorted(maps.Keys(entries)) {
		e := entries[addr]
		f.Body().AppendNewline()
		b := f.Body().AppendNewBlock("ware", []string{addr}).Body()
		setString := func(name, value string) {
			if value != "" {
				b.SetAttributeValue(name, cty.StringVal(value))
			}
		}
		setStrings := func(name, patterns string) {
			var list []cty.Value
			for _, p := range splitPatterns(patterns) {
				list = append(list, cty.StringVal(p))
			}
			if list != nil {
				b.SetAttributeValue(name, cty.ListVal(list))
			}
		}
		setString("builtin", e.Builtin)
		setString("from", e.From)
		setString("catalog", e.Catalog)
		setStrings("mirrors", e.Mirrors)
		setString("url", e.URL)
		if e.Strip != 0 {
			b.SetAttributeValue("strip", cty.NumberIntVal(int64(e.Strip)))
		}
		setString("git", e.Git)
		setString("ref", e.Ref)
		setString("subdir", e.Subdir)
		if e.NoSubmodules {
			b.SetAttributeValue("submodules", cty.False)
		}
		setString("oci", e.OCI)
		setString("platform", e.Platform)
		setStrings("include", e.Include)
		setStrings("exclude", e.Exclude)
		setString("filters", e.Filters)
		setString("commit", e.Commit)
		setString("digest", e.Digest)
		setString("manifest", e.Manifest)
		setString("sha256", e.SHA256)
		setString("tree", e.Tree.String())
		setString("id", e.ID.String())
	}
	return append([]byte(lockHeader), f.Bytes()...)
}

func lockDiag(path, summary, detail string, cause error) hcl.Diagnostics {
	return hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: summary, Detail: detail,
		Subject: &hcl.Range{Filename: path, Start: hcl.InitialPos, End: hcl.InitialPos},
		Extra:   cause,
	}}
}
