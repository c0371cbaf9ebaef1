// Package formula turns formula files into a Formula: the wares, steps and
// outputs they declare, fully evaluated, each with the place it was written.
// It reads nothing but the formula's directory; package plan resolves sources.
package formula

import (
	"time"

	"github.com/hashicorp/hcl/v2"
)

// A Formula is one evaluated formula file and the modules it calls, flattened:
// everything a module declares appears here under its full address.
type Formula struct {
	Dir     string               // absolute directory of the root module
	Sources map[string]*hcl.File // every file read, by name, for printing diagnostics
	Wares   []*Ware              // sorted by Addr
	Steps   []*Step              // in topological order, ties by Addr
	Outputs []*Output            // in the order written

	Functions  []*Function // sorted by Addr
	Warehouses []Warehouse // modules in the order of their calls, each by name
	Pending    []*Pending  // what is not known before calls have run; sorted by Addr
}

// A Ware is a named source, not resolved yet.
type Ware struct {
	Addr   string // "ware.base", "module.lib.ware.src"
	Dir    string // absolute directory of the module that declares it; Path is relative to it
	Source Source
	Range  hcl.Range // of the block's header
}

// SourceKind says which of a Source's fields count.
type SourceKind string

// The kinds of source a ware block can name.
const (
	SourceBuiltin SourceKind = "builtin"
	SourcePath    SourceKind = "path"
	SourceURL     SourceKind = "url"
	SourceGit     SourceKind = "git"
	SourceOCI     SourceKind = "oci"
	SourceID      SourceKind = "id"
	SourceText    SourceKind = "text"
	SourceCatalog SourceKind = "catalog"
)

// EmptyWare is the id of the fileset that is an empty directory.
const EmptyWare = "tree:5cd5ef42d5253c50873cd13db2574f307c78695fdd1018ddb036dae44f60d08c-7"

// Source is what a ware block names before it is resolved.
type Source struct {
	Kind         SourceKind
	Builtin      string   // builtin: the name of a ware inside kiln
	Path         string   // path: as written; a directory or a single file
	Include      []string // path, git, oci: patterns (doublestar); empty means everything
	Exclude      []string // path, git, oci: patterns; they win over Include
	URL          string   // url: http, https or file
	SHA256       string   // url: 64 hex digits of the bytes fetched, or ""
	Strip        int      // url: leading path components dropped from each entry
	Git          string   // git: a url, or the path of a local repository, as written
	Ref          string   // git: a branch, a tag or a commit; "" is HEAD
	Subdir       string   // git: a directory in the commit, clean; "" for all of it
	NoSubmodules bool     // git: submodules are left out
	OCI          string   // oci: an image, as ParseImageRef reads it
	Platform     string   // oci: linux/ARCHITECTURE[/VARIANT]; "" is this machine's
	Unlocked     bool     // git: the ref is read anew by every run, and is in no lock file; id: nor is the tree id; catalog: it is looked up by every run
	ID           string   // id: a ware id
	// Addresses are where the ware of an id can be fetched, besides the warehouses
	// that the plan knows; warehouse URLs, tried in order.
	Addresses []string
	Text      string // text: the content of the ware's one file
	Catalog   string // catalog: MODULE:RELEASE:ITEM
	Filters   string // pack filters, "uid=keep,mtime=keep"; "" for the defaults
	Range     hcl.Range
}

// Ref names a value that becomes a ware id: a ware, or one output of a step.
type Ref struct {
	Ware   string // address of a Ware, or ""
	Step   string // address of a Step, or ""
	Output string // name of that step's output
}

// A Step is one computation. Steps made by for_each are separate Steps.
type Step struct {
	Addr      string // `step.build`, `step.test["a"]`, `module.m.step.build`
	Inputs    []Input
	Env       []EnvVar // sorted by name; from $VAR ports and the env attribute
	Action    Action
	Outputs   []StepOutput  // sorted by name
	DependsOn []string      // addresses of steps, beyond those the inputs name
	Timeout   time.Duration // 0: none
	Cwd       string        // absolute; "/" unless set
	User      string        // "uid" or "uid:gid", decimal; "0:0" unless set
	Network   bool          // it may use the machine's network, if the person allows it
	Resources Resources     // what it may use at most; no part of its key
	Runner    string        // where it runs; "": as the person says. No part of its key
	Sensitive bool          // an input or the action was made from a sensitive value
	Range     hcl.Range     // of the block's header
}

// Mode says how an input is mounted.
type Mode string

// The modes of an input. The input at "/" is an overlay whatever is written.
const (
	ReadOnly  Mode = "ro"
	Overlay   Mode = "overlay"
	ReadWrite Mode = "rw" // of a mount: what the step writes stays
)

// An Input is a ware, or something of this machine, mounted at a path of the step.
type Input struct {
	Port    string // absolute, clean
	From    Ref    // zero for a mount
	Host    string // of a mount: an absolute path of this machine
	Mode    Mode
	Filters string // unpack filters, "mtime=follow"; "" for the defaults
	Range   hcl.Range
}

// An EnvVar is one variable of the step's environment.
type EnvVar struct{ Name, Value string }

// Action is what a step does: exactly one of Exec, Script and Echo is set. With Call,
// Exec is the function's command.
type Action struct {
	Exec        []string    // argv
	Call        *Call       // nil for anything but a call
	Script      []string    // entries run by one interpreter, in order
	Interpreter []string    // argv before the script's path; ["/bin/sh"] unless set
	Continue    bool        // with Script: entries after one that fails run too
	Echo        bool        // tell the inputs, and run nothing
	Ranges      []hcl.Range // Exec: one, of the attribute; Script: one for each entry
}

// A StepOutput is a path that becomes a ware when the step has ended well.
type StepOutput struct {
	Name     string
	Path     string // absolute, clean
	Packtype string // "tree" unless set
	Filters  string // "" for the defaults
	Range    hcl.Range
}

// An Output is a result of the whole formula.
type Output struct {
	Name        string
	Description string
	From        Ref
	Image       *Image // nil without an image block
	Range       hcl.Range
}
