// Package warpforge reads warpforge's JSON documents (formulas, plots, modules,
// catalogs) into formula's types, and writes formulas as such documents. It runs and
// fetches nothing; what a catalog reference names is found by package plan.
//
// Documents are read as warpforge reads them: a trailing comma is allowed. Everything
// else that is wrong is a diagnostic that points at it. FormulaIDs and the ids in
// catalogs are computed as warpforge does (cid.go).
package warpforge

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
)

// The names of the files that warpforge looks for in a directory.
const (
	FormulaFile = "formula.wf"
	PlotFile    = "plot.wf"
	ModuleFile  = "module.wf"
)

// maxDocument is how many bytes a document may have; warpforge's published ones have
// a few thousand.
const maxDocument = 8 << 20

// Find returns the warpforge document that path means: the file itself if it holds a
// JSON object, whatever its name, or what lies in a directory that has no kiln.hcl.
// It is false when path means something else, or nothing.
func Find(path string) (file string, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return "", false
	}
	if !info.IsDir() {
		return path, isObject(path)
	}
	if _, err := os.Lstat(filepath.Join(path, formula.FileName)); err == nil {
		return "", false
	}
	for _, name := range []string{ModuleFile, PlotFile, FormulaFile} {
		file := filepath.Join(path, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			return file, true
		}
	}
	return "", false
}

// isObject reports whether the first thing in a file is an opening brace, with which
// no HCL file begins.
func isObject(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	head, _ := io.ReadAll(io.LimitReader(f, 4096))
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	return bytes.HasPrefix(head, []byte("{"))
}

// Load reads the document at file, as Find returns it, into a formula. With a module
// it reads the plot beside it. It reports every problem it finds; when there are
// errors, only Dir and Sources of the Formula are set.
func Load(file string) (*Loaded, hcl.Diagnostics) {
	dir, err := filepath.Abs(filepath.Dir(file))
	l := newLoaded(dir, nil)
	if err != nil {
		return l, hcl.Diagnostics{problem(hcl.Range{}, "No formula found", "%s cannot be read: %s.", file, err)}
	}
	l.Document = l.read(file)
	if l.Document != nil && l.Document.Kind == KindModule {
		l.Module = l.Document.Module.Value
		l.readPlot(filepath.Join(filepath.Dir(file), PlotFile))
	}
	if l.Document != nil && !l.diags.HasErrors() {
		l.lower()
	}
	if l.diags.HasErrors() {
		return newLoaded(dir, l.Formula.Sources), sorted(l.diags)
	}
	return l, sorted(l.diags)
}

func newLoaded(dir string, sources map[string]*hcl.File) *Loaded {
	if sources == nil {
		sources = map[string]*hcl.File{}
	}
	return &Loaded{Formula: &formula.Formula{Dir: dir, Sources: sources}}
}

// Loaded is a document as a formula, and what of the document a formula has no place
// for.
type Loaded struct {
	Formula  *formula.Formula
	Document *Document
	Module   string            // name of the module, or ""
	Steps    map[string]*Bound // by address of the formula's step

	diags hcl.Diagnostics
}

func (l *Loaded) report(d ...*hcl.Diagnostic) { l.diags = append(l.diags, d...) }

// read reads and parses one file.
func (l *Loaded) read(file string) *Document {
	src, err := ReadFile(file)
	if err != nil {
		l.report(problem(hcl.Range{}, "No formula found", "%s cannot be read: %s.", file, err))
		return nil
	}
	d, diags := Parse(src, file)
	l.Formula.Sources[file] = &hcl.File{Bytes: src}
	l.report(diags...)
	return d
}

// readPlot puts a module's plot in place of the module.
func (l *Loaded) readPlot(file string) {
	module := l.Document
	if _, err := os.Stat(file); err != nil {
		d := problem(module.Range, "Module without a plot", "The module %s has no %s beside it, so there is nothing to run.", module.Module.Value, PlotFile)
		d.Severity = hcl.DiagWarning
		l.report(d)
		module.Plot = &Plot{Range: module.Range}
		return
	}
	l.Document = l.read(file)
	if l.Document != nil && l.Document.Kind != KindPlot {
		l.report(problem(l.Document.Range, "Not a plot", "A module's %s holds a plot.v1, and this is a %s.", PlotFile, l.Document.Kind))
	}
}

// ReadFile reads a document, which is a regular file of a bearable size.
func ReadFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a regular file")
	}
	src, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err == nil && len(src) > maxDocument {
		err = fmt.Errorf("it is larger than %d MiB", maxDocument>>20)
	}
	return src, err
}
