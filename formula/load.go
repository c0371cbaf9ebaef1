package formula

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// FileName is the formula file looked for in a directory.
const FileName = "kiln.hcl"

// LoadOptions gives values to a formula's variables. Where one is given more than
// once, Vars win over VarFiles, a later file over an earlier one, and both over Env.
type LoadOptions struct {
	Vars     map[string]string // values by name, as after --var
	VarFiles []string          // paths of HCL files of attributes
	Env      []string          // "KILN_VAR_name=value"; other entries are ignored

	// Results are what calls have given, by address. What depends on a call that is
	// not here is left out of the Formula, and named in its Pending.
	Results map[string]Result
}

// Load reads and evaluates the formula at path: a file, or a directory holding
// kiln.hcl. It reports every problem it finds, in the order of the files, and
// always returns a Formula: when there are errors only its Dir and Sources are set.
func Load(path string, o LoadOptions) (*Formula, hcl.Diagnostics) {
	l := &loader{sources: make(map[string]*hcl.File), bodies: make(map[string]*hclsyntax.Body), options: o}
	f := l.load(path)
	if l.root != nil {
		l.root.Close()
	}
	f.Sources = l.sources
	diags := tidy(l.diags)
	if diags.HasErrors() {
		return &Formula{Dir: f.Dir, Sources: f.Sources}, diags
	}
	return f, diags
}

// loader is the state of one Load.
type loader struct {
	options  LoadOptions
	sources  map[string]*hcl.File
	bodies   map[string]*hclsyntax.Body // of module files, by the same names; nil with a syntax error
	dir      string                     // absolute directory of the root module
	shown    string                     // the same as the caller wrote it, for ranges
	root     *os.Root                   // dir: nothing outside it is read
	fileName string                     // of the root module
	diags    hcl.Diagnostics
	modules  []*module  // root first
	stack    []*node    // being evaluated, for naming cycles
	mu       sync.Mutex // diags, skipped, while instances are evaluated
	skipped  bool       // a value was not known because of an error elsewhere
	waiting  []awaits   // of what is being evaluated, outermost first
	pending  map[string]*Pending
	results  map[string]cty.Value // of calls, by address
}

func (l *loader) report(diags ...*hcl.Diagnostic) { l.diags = append(l.diags, diags...) }

func (l *loader) fail(summary, detail string, args ...any) {
	l.report(problem(hcl.Range{}, hcl.Range{}, summary, detail, args...))
}

func (l *loader) load(path string) *Formula {
	f := &Formula{}
	if !l.open(path) {
		f.Dir = l.dir
		return f
	}
	f.Dir = l.dir
	if root := l.loadModule(nil, nil, "."); root != nil {
		l.giveVariables(root)
		l.evaluate(f)
	}
	if l.skipped && !l.diags.HasErrors() {
		l.fail("Value not known", "A value stayed unknown although nothing is wrong with the formula. This is a bug in kiln.")
	}
	return f
}

// open finds the root module's directory and its formula file.
func (l *loader) open(path string) bool {
	if path == "" {
		path = "."
	}
	info, err := os.Stat(path)
	if err != nil {
		l.fail("No formula found", "%s cannot be read: %s.%s", path, plainError(err), nearFiles(filepath.Dir(path), filepath.Base(path)))
		return false
	}
	l.shown, l.fileName = path, FileName
	if !info.IsDir() {
		l.shown, l.fileName = filepath.Dir(path), filepath.Base(path)
	}
	if l.dir, err = filepath.Abs(l.shown); err == nil {
		l.root, err = os.OpenRoot(l.dir)
	}
	if err != nil {
		l.fail("No formula found", "%s cannot be read: %s.", l.shown, plainError(err))
		return false
	}
	return true
}

// nearFiles is a sentence about what a directory has in place of a formula file.
func nearFiles(dir, name string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var formulas []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".hcl") && !strings.HasSuffix(e.Name(), ".lock.hcl") && e.Name() != name && !e.IsDir() {
			formulas = append(formulas, e.Name())
		}
	}
	slices.Sort(formulas)
	switch {
	case len(formulas) == 0:
		return " There is no other .hcl file beside it."
	case len(formulas) > 8:
		formulas = formulas[:8]
	}
	return " Beside it there is " + quoteAll(formulas) + "; a formula file can be named on the command line."
}

// read reads and parses a module's formula file. The name in ranges is as the
// caller of Load wrote the directory.
func (l *loader) read(rel string, call *moduleCall) *module {
	name := FileName
	if rel == "." {
		name = l.fileName
	}
	relName := filepath.Join(rel, name)
	shown := filepath.Join(l.shown, relName)
	var at, around hcl.Range
	if call != nil {
		at, around = call.sourceRange, call.block.Range()
	}
	m := &module{l: l, rel: rel, dir: filepath.Join(l.dir, rel), file: shown}
	if body, again := l.bodies[shown]; again {
		m.body = body
		return m.ifParsed()
	}
	src, err := readRegular(l.root, relName, maxFormula)
	if err != nil {
		near := ""
		if err.Error() == "there is no such file" {
			near = nearFiles(filepath.Join(l.dir, rel), name)
		}
		l.report(problem(at, around, "No formula found", "%s cannot be read: %s.%s", shown, err, near))
		return nil
	}
	file, body, diags := parse(src, shown)
	l.sources[shown] = file
	l.report(diags...)
	if diags.HasErrors() {
		body = nil // what could be parsed would only lead to errors that are none
	}
	l.bodies[shown], m.body = body, body
	return m.ifParsed()
}

func (m *module) ifParsed() *module {
	if m.body == nil {
		return nil
	}
	return m
}
