package plan

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/klauspost/compress/zstd"
)

// project is a formula's directory beside a world, and what it is resolved with.
type project struct {
	*world
	dir     string
	formula *formula.Formula
	options ResolveOptions
	phases  map[Phase]int // how often each has ended
}

func newProject(t testing.TB, sources map[string]formula.Source) *project {
	w := newWorld(t)
	pr := &project{world: w, dir: filepath.Join(w.dir, "project"), phases: map[Phase]int{}}
	if err := os.Mkdir(pr.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	pr.formula = &formula.Formula{Dir: pr.dir}
	line := 0
	for _, addr := range slices.Sorted(maps.Keys(sources)) {
		src := sources[addr]
		line += 10
		src.Range = hcl.Range{Filename: "kiln.hcl", Start: hcl.Pos{Line: line, Column: 3}, End: hcl.Pos{Line: line, Column: 9}}
		pr.formula.Wares = append(pr.formula.Wares, &formula.Ware{Addr: addr, Dir: pr.dir, Source: src})
	}
	var mu sync.Mutex // for tests that resolve more than once at a time
	pr.options = ResolveOptions{
		Warehouse: w.Warehouse, CacheDir: filepath.Join(w.dir, "cache"),
		Progress: func(p Progress) {
			mu.Lock()
			defer mu.Unlock()
			if p.End && p.Err == nil {
				pr.phases[p.Phase]++
			}
		},
	}
	return pr
}

func (pr *project) write(name, text string) {
	pr.t.Helper()
	path := filepath.Join(pr.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		pr.t.Fatal(err)
	}
}

// resolve resolves and locks, and fails the test if that cannot be done.
func (pr *project) resolve() (*Plan, []LockChange) {
	pr.t.Helper()
	p, diags := Resolve(pr.t.Context(), pr.formula, pr.options)
	if diags.HasErrors() {
		pr.t.Fatal(diags)
	}
	changes, diags := p.SaveLock(false)
	if diags.HasErrors() {
		pr.t.Fatal(diags)
	}
	return p, changes
}

// fail resolves and returns the diagnostics, of which there must be some.
func (pr *project) fail() hcl.Diagnostics {
	pr.t.Helper()
	p, diags := Resolve(pr.t.Context(), pr.formula, pr.options)
	if p != nil || !diags.HasErrors() {
		pr.t.Fatalf("resolved: %v", diags)
	}
	return diags
}

func (pr *project) lockText() string {
	text, err := os.ReadFile(filepath.Join(pr.dir, LockName))
	if err != nil {
		pr.t.Fatal(err)
	}
	return string(text)
}

func TestResolvePath(t *testing.T) {
	pr := newProject(t, map[string]formula.Source{
		"ware.self":  {Kind: formula.SourcePath, Path: ".", Exclude: []string{"build"}},
		"ware.again": {Kind: formula.SourcePath, Path: "./", Exclude: []string{"build"}},
		"ware.file":  {Kind: formula.SourcePath, Path: "a.txt"},
		"ware.tool":  {Kind: formula.SourceBuiltin, Builtin: "tool"},
	})
	pr.options.Builtins = map[string]Builtin{"tool": {ID: treeID(7)}}
	pr.write("a.txt", "a")
	first, changes := pr.resolve()
	if len(changes) != 1 || !strings.Contains(pr.lockText(), `ware "ware.tool"`) || strings.Contains(pr.lockText(), "ware.self") {
		t.Errorf("locked %v: %s", changes, pr.lockText())
	}
	if first.Wares["ware.self"] != first.Wares["ware.again"] || pr.phases[PhaseScan] != 2 {
		t.Errorf("%d scans, wares %v", pr.phases[PhaseScan], first.Wares)
	}
	if recs, err := pr.Warehouse.List(t.Context()); len(recs) != 0 || err != nil {
		t.Errorf("resolving copied %v, %v", recs, err)
	}
	// Neither the lock file, which is new, nor what is excluded changes the ware.
	pr.write("build/out", "x")
	if p, _ := pr.resolve(); !maps.Equal(p.Wares, first.Wares) {
		t.Errorf("wares %v, then %v", first.Wares, p.Wares)
	}
	pr.write("a.txt", "b")
	second, _ := pr.resolve()
	if second.Wares["ware.self"] == first.Wares["ware.self"] || second.Wares["ware.file"] == first.Wares["ware.file"] {
		t.Error("a changed file is the same ware")
	}
	if diags := second.Fetch(t.Context(), []string{"ware.self", "ware.again"}); diags.HasErrors() {
		t.Fatal(diags)
	}
	rec, err := pr.Warehouse.Get(second.Wares["ware.self"])
	if err != nil || pr.phases[PhaseStore] != 1 {
		t.Errorf("after fetch: %v, stored %d", err, pr.phases[PhaseStore])
	}
	if text, _ := os.ReadFile(filepath.Join(pr.Warehouse.Fileset(rec), "a.txt")); string(text) != "b" {
		t.Errorf("fetched %q", text)
	}
	// first is older than the files: what it names cannot be had any more.
	diags := first.Fetch(t.Context(), []string{"ware.self"})
	if !hasDiag(diags, "Cannot resolve ware", 10) || !strings.Contains(diags.Error(), "changed while kiln was reading it") {
		t.Errorf("fetching what is gone: %v", diags)
	}
}

// TestResolvePathAnywhere: a path source need not lie below the formula.
func TestResolvePathAnywhere(t *testing.T) {
	pr := newProject(t, map[string]formula.Source{
		"ware.1": {Kind: formula.SourcePath, Path: "/set below"},
		"ware.2": {Kind: formula.SourcePath, Path: "../data"},
		"ware.3": {Kind: formula.SourcePath, Path: "~/data"},
		"ware.4": {Kind: formula.SourcePath, Path: "~data"},
	})
	pr.formula.Wares[0].Source.Path = filepath.Join(filepath.Dir(pr.dir), "data")
	t.Setenv("HOME", filepath.Dir(pr.dir))
	for _, name := range []string{"../data/a.txt", "~data/a.txt"} {
		pr.write(name, "a")
	}
	p, _ := pr.resolve()
	for addr, id := range p.Wares {
		if id != p.Wares["ware.2"] {
			t.Errorf("%s is %s, want %s", addr, id, p.Wares["ware.2"])
		}
	}
	t.Setenv("HOME", "")
	if _, diags := Resolve(t.Context(), pr.formula, pr.options); !hasDiag(diags, "Cannot resolve ware", 30) || !strings.Contains(diags.Error(), "~/data") {
		t.Errorf("without a home: %v", diags)
	}
}

// TestResolveReportsAll: all that is wrong is told at once, each at its line.
func TestResolveReportsAll(t *testing.T) {
	pr := newProject(t, map[string]formula.Source{
		"ware.1": {Kind: formula.SourcePath, Path: "none"},
		"ware.2": {Kind: formula.SourceBuiltin, Builtin: "tolbox"},
		"ware.3": {Kind: formula.SourceID, ID: treeID(1).String()},
		"ware.4": {Kind: formula.SourceURL, URL: "ftp://example.com/x"},
		"ware.5": {Kind: formula.SourceURL, URL: "https://example.com/x"},
		"ware.6": {Kind: formula.SourceID, ID: "nonsense"},
	})
	pr.options.Builtins = map[string]Builtin{"toolbox": {ID: treeID(7)}}
	pr.options.Offline = true
	diags := pr.fail()
	for _, want := range []struct {
		line          int
		summary, text string
	}{
		{10, "Cannot resolve ware", "no such file or directory"},
		{20, "Cannot resolve ware", `did you mean "toolbox"?`},
		{30, "Ware unavailable", "not in the warehouse"},
		{50, "Ware unavailable", "ware.5: fetching https://example.com/x needs the network, which --offline forbids"},
		{60, "Cannot resolve ware", "want packtype:hash"},
	} {
		if !hasDiag(diags, want.summary, want.line) || !strings.Contains(errText(diags), want.text) {
			t.Errorf("no %q, %q at line %d in %v", want.summary, want.text, want.line, errText(diags))
		}
	}
	if len(diags) != 6 || !errors.Is(Cause(diags), ErrUnavailable) || !errors.Is(Cause(diags), warehouse.ErrMissing) {
		t.Errorf("%d diagnostics, cause %v", len(diags), Cause(diags))
	}
}

func errText(diags hcl.Diagnostics) string {
	var lines []string
	for _, d := range diags {
		lines = append(lines, d.Error())
	}
	return strings.Join(lines, "\n")
}

// content serves what *text is, and counts requests.
func content(t *testing.T, text *atomic.Value) (base string, requests *atomic.Int32) {
	requests = new(atomic.Int32)
	return serve(t, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		io.WriteString(w, text.Load().(string))
	}), requests
}

// TestResolveURL follows one url from the first time it is seen.
func TestResolveURL(t *testing.T) {
	var text atomic.Value
	text.Store("one")
	base, requests := content(t, &text)
	pr := newProject(t, map[string]formula.Source{
		"ware.a": {Kind: formula.SourceURL, URL: base + "/file"},
		"ware.b": {Kind: formula.SourceURL, URL: base + "/file"},
	})
	src := &pr.formula.Wares[0].Source

	p, changes := pr.resolve()
	if len(changes) != 2 || changes[0].Reason != "new" || requests.Load() != 1 {
		t.Fatalf("first: %v, %d requests", changes, requests.Load())
	}
	one := p.Wares["ware.a"]
	if !strings.Contains(pr.lockText(), hexSum("one")) || pr.Warehouse.Has(one) == false {
		t.Errorf("trusted on first use, but not recorded: %s", pr.lockText())
	}

	// What is locked is not asked for again, even if it is another now.
	text.Store("two")
	before := pr.lockText()
	pr.options.Offline = true
	if p, changes := pr.resolve(); p.Wares["ware.a"] != one || len(changes) != 0 || requests.Load() != 1 {
		t.Errorf("locked: %v, %v, %d requests", p.Wares, changes, requests.Load())
	}
	if diags := p.Fetch(t.Context(), []string{"ware.a"}); diags.HasErrors() || requests.Load() != 1 {
		t.Errorf("fetching what is there: %v", diags)
	}

	// Gone from the warehouse, it has to be what it was.
	if err := pr.Warehouse.Remove(one); err != nil {
		t.Fatal(err)
	}
	p, _ = pr.resolve()
	if diags := p.Fetch(t.Context(), []string{"ware.a"}); !errors.Is(Cause(diags), ErrUnavailable) {
		t.Errorf("offline: %v", diags)
	}
	pr.options.Offline = false
	p, _ = pr.resolve()
	diags := p.Fetch(t.Context(), []string{"ware.a"})
	if !hasDiag(diags, "Hash mismatch", 10) || !errors.Is(Cause(diags), ErrMismatch) || !strings.Contains(diags.Error(), one.String()) {
		t.Errorf("changed upstream: %v", diags)
	}
	text.Store("one")
	if diags := p.Fetch(t.Context(), []string{"ware.a"}); diags.HasErrors() || !pr.Warehouse.Has(one) {
		t.Errorf("restored upstream: %v", diags)
	}
	if pr.lockText() != before {
		t.Errorf("lock file changed from %s to %s", before, pr.lockText())
	}

	// An update asks again, for that ware alone.
	text.Store("two")
	pr.options.Update = []string{"a"}
	p, changes = pr.resolve()
	if p.Wares["ware.a"] == one || len(changes) != 2 || changes[0].Reason != "updated" {
		t.Errorf("updated: %v, %v", p.Wares, changes)
	}
	pr.options.Update = []string{"ware.c"}
	if diags := pr.fail(); !strings.Contains(diags.Error(), "no ware ware.c in this formula. Did you mean ware.") {
		t.Errorf("updating what is not there: %v", diags)
	}
	pr.options.Update = nil

	// Another source is resolved anew, which is said.
	src.URL += "?v=3"
	text.Store("three")
	if _, changes := pr.resolve(); len(changes) != 1 || changes[0].Reason != "source changed" {
		t.Errorf("source changed: %v", changes)
	}
	src.SHA256 = hexSum("three")
	if _, changes := pr.resolve(); len(changes) != 0 {
		t.Errorf("sha256 added that is right: %v", changes)
	}
	src.SHA256 = hexSum("four")
	if diags := pr.fail(); !hasDiag(diags, "Hash mismatch", 10) || !strings.Contains(diags.Error(), hexSum("three")) || !strings.Contains(diags.Error(), hexSum("four")) {
		t.Errorf("sha256 added that is wrong: %v", diags)
	}
}

// TestResolveZip: a zip archive is unpacked, unless its name says that it is more.
func TestResolveZip(t *testing.T) {
	var data bytes.Buffer
	z := zip.NewWriter(&data)
	f, err := z.Create("top/f")
	if err == nil {
		_, err = io.WriteString(f, "text")
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	base := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(data.Bytes()) })
	pr := newProject(t, map[string]formula.Source{
		"ware.zip":    {Kind: formula.SourceURL, URL: base + "/a.ZIP"},
		"ware.ball":   {Kind: formula.SourceURL, URL: base + "/zipball/v1.2"},
		"ware.jar":    {Kind: formula.SourceURL, URL: base + "/a.jar"},
		"ware.strip":  {Kind: formula.SourceURL, URL: base + "/b.jar", Strip: 1},
		"ware.nozip":  {Kind: formula.SourcePath, Path: "jar"},
		"ware.single": {Kind: formula.SourcePath, Path: "strip"},
	})
	pr.write("jar", data.String())
	pr.write("strip/f", "text")
	if err := errors.Join(os.Chmod(pr.dir+"/jar", 0o644), os.Chmod(pr.dir+"/strip", 0o755), os.Chmod(pr.dir+"/strip/f", 0o666)); err != nil {
		t.Fatal(err)
	}
	p, _ := pr.resolve()
	for a, b := range map[string]string{"ware.zip": "ware.ball", "ware.jar": "ware.nozip", "ware.strip": "ware.single"} {
		if p.Wares[a] != p.Wares[b] {
			t.Errorf("%s is %s, %s is %s", a, p.Wares[a], b, p.Wares[b])
		}
	}
	if p.Wares["ware.zip"] == p.Wares["ware.jar"] {
		t.Error("the archive was not unpacked")
	}
}

// TestResolveRatio: an archive of almost nothing but zeros is a bomb, unless the formula
// says which bytes it means.
func TestResolveRatio(t *testing.T) {
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(z)
	err = tw.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: pack.RatioFloor + 1, Typeflag: tar.TypeReg})
	for n := 0; n <= pack.RatioFloor && err == nil; n += 1 << 20 {
		_, err = tw.Write(make([]byte, min(1<<20, pack.RatioFloor+1-n)))
	}
	if err := errors.Join(err, tw.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	base := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(packed.Bytes()) })
	pr := newProject(t, map[string]formula.Source{"ware.z": {Kind: formula.SourceURL, URL: base + "/z.tar.zst"}})
	if diags := pr.fail(); !strings.Contains(diags.Error(), "bomb") || !strings.Contains(diags.Error(), "sha256") || !strings.Contains(diags.Error(), `"zeros"`) {
		t.Errorf("got %v", diags)
	}
	pr.formula.Wares[0].Source.SHA256 = hexSum(packed.String())
	pr.resolve()
}

// TestResolveArchive: an archive becomes the ware that its content is, whatever
// packed it; what is no archive becomes a file, unless it should have been one.
func TestResolveArchive(t *testing.T) {
	var files sync.Map
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		data, _ := files.Load(r.URL.Path)
		w.Write(data.([]byte))
	})
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	tw := tar.NewWriter(z)
	for _, name := range []string{"lua-5/a.txt", "lua-5/doc/b.txt"} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: 1, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(tw, "a")
	}
	if err := errors.Join(tw.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	files.Store("/lua.tar.gz", packed.Bytes())
	files.Store("/file", []byte("text"))
	files.Store("/page.tar.gz", []byte("<html>\n\tnot \x1b[1mfound</html>"))
	files.Store("/empty.tgz", []byte(nil))
	files.Store("/other.tar.xy", []byte("7z\xbc\xaf\x27\x1c\x00\x04"))
	files.Store("/cut.tar.gz", packed.Bytes()[:packed.Len()/2])
	pr := newProject(t, map[string]formula.Source{
		"ware.file": {Kind: formula.SourceURL, URL: base + "/file"},
		"ware.lua":  {Kind: formula.SourceURL, URL: base + "/lua.tar.gz", Strip: 1},
		"ware.tree": {Kind: formula.SourcePath, Path: "tree"},
	})
	pr.write("tree/a.txt", "a")
	pr.write("tree/doc/b.txt", "a")
	for _, dir := range []string{"tree", "tree/doc"} { // whatever the umask
		if err := os.Chmod(filepath.Join(pr.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"tree/a.txt", "tree/doc/b.txt"} {
		if err := os.Chmod(filepath.Join(pr.dir, file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, _ := pr.resolve()
	if p.Wares["ware.lua"] != p.Wares["ware.tree"] {
		t.Errorf("unpacked to %s, want %s", p.Wares["ware.lua"], p.Wares["ware.tree"])
	}
	rec, err := pr.Warehouse.Get(p.Wares["ware.file"])
	if err != nil || !rec.File {
		t.Fatalf("%+v, %v", rec, err)
	}
	info, err := os.Stat(pr.Warehouse.Fileset(rec))
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("file %v, %v", info.Mode(), err)
	}
	page, _ := files.Load("/page.tar.gz")
	for _, c := range []struct {
		path, sha256, want string
		unavailable        bool
	}{
		{"/page.tar.gz", "", `although it is named like an archive; it is text/html and begins "<html> not \x1b[1mfound</html>"`, true},
		{"/page.tar.gz", hexSum(string(page.([]byte))), "although it is named like an archive", false},
		{"/empty.tgz", "", "although it is named like an archive; it is empty", true},
		{"/other.tar.xy", "", "it is a 7z archive: neither zip nor tar", false},
		{"/cut.tar.gz", "", "the archive is truncated", false},
	} {
		path := c.path
		bad := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourceURL, URL: base + path, SHA256: c.sha256}})
		if diags := bad.fail(); !strings.Contains(diags.Error(), c.want) || errors.Is(Cause(diags), ErrUnavailable) != c.unavailable {
			t.Errorf("%s: %v, want %q", path, diags, c.want)
		}
		if recs, _ := bad.Warehouse.List(t.Context()); len(recs) != 0 {
			t.Errorf("%s: left %v", path, recs)
		}
	}
	bad := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourceURL, URL: base + "/file", Strip: 1}})
	if diags := bad.fail(); !strings.Contains(diags.Error(), "strip = 1: ") {
		t.Errorf("strip of a file: %v", diags)
	}
}

// TestResolveObeysEach: wares of one source that are locked to different wares, as a
// merge can leave them, each stay what they are.
func TestResolveObeysEach(t *testing.T) {
	src := formula.Source{Kind: formula.SourceURL, URL: "http://127.0.0.1:1/x"}
	pr := newProject(t, map[string]formula.Source{"ware.a": src, "ware.b": src, "ware.c": src})
	locked := map[string]LockEntry{"ware.b": {URL: src.URL, ID: treeID(1)}, "ware.c": {URL: src.URL, ID: treeID(2)}}
	pr.write(LockName, string(formatLock(locked)))
	p, changes := pr.resolve()
	if p.Wares["ware.b"] != treeID(1) || p.Wares["ware.c"] != treeID(2) || p.Wares["ware.a"] != treeID(1) {
		t.Errorf("wares %v", p.Wares)
	}
	if len(changes) != 1 || changes[0].Addr != "ware.a" || changes[0].Reason != "new" {
		t.Errorf("changes %v", changes)
	}
}

func TestSaveLockPrunes(t *testing.T) {
	pr := newProject(t, map[string]formula.Source{
		"ware.a": {Kind: formula.SourceBuiltin, Builtin: "tool"},
		"ware.b": {Kind: formula.SourceBuiltin, Builtin: "tool"},
	})
	pr.options.Builtins = map[string]Builtin{"tool": {ID: treeID(7)}}
	pr.resolve()
	pr.formula.Wares = pr.formula.Wares[:1]
	p, changes := pr.resolve()
	if len(changes) != 0 || !strings.Contains(pr.lockText(), "ware.b") {
		t.Errorf("a run dropped entries: %v", changes)
	}
	changes, diags := p.SaveLock(true)
	if len(changes) != 1 || diags.HasErrors() || strings.Contains(pr.lockText(), "ware.b") {
		t.Errorf("lock kept entries: %v, %v", changes, diags)
	}
}

// TestResolveBuiltin: the lock file holds against another kiln's builtin, as long as
// the ware is in the warehouse.
func TestResolveBuiltin(t *testing.T) {
	pr := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourceBuiltin, Builtin: "tool"}})
	dir := filepath.Join(pr.world.dir, "tool")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "sh"), []byte("#!"), 0o755)); err != nil {
		t.Fatal(err)
	}
	r, err := pack.Scan(t.Context(), dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(ctx context.Context, l *warehouse.Local) error {
		_, err := pack.Ingest(ctx, l, dir, pack.Options{})
		return err
	}
	pr.options.Builtins = map[string]Builtin{"tool": {ID: r.ID, Put: put}}
	p, _ := pr.resolve()
	if diags := p.Fetch(t.Context(), []string{"ware.a"}); diags.HasErrors() || !pr.Warehouse.Has(r.ID) {
		t.Fatalf("fetch: %v", diags)
	}
	pr.options.Builtins = map[string]Builtin{"tool": {ID: treeID(9), Put: put}}
	p, changes := pr.resolve()
	if p.Wares["ware.a"] != r.ID || len(changes) != 0 {
		t.Errorf("a newer kiln took %v", p.Wares)
	}
	if diags := p.Fetch(t.Context(), []string{"ware.a"}); diags.HasErrors() {
		t.Error(diags)
	}
	if err := pr.Warehouse.Remove(r.ID); err != nil {
		t.Fatal(err)
	}
	diags := p.Fetch(t.Context(), []string{"ware.a"})
	if !errors.Is(Cause(diags), ErrUnavailable) || !strings.Contains(diags.Error(), "run kiln update ware.a") {
		t.Errorf("a builtin that no kiln has: %v", diags)
	}
	pr.options.UpdateAll = true
	if p, changes := pr.resolve(); p.Wares["ware.a"] != treeID(9) || len(changes) != 1 {
		t.Errorf("update: %v, %v", p.Wares, changes)
	}
}

// TestResolveTogether: kilns that lock one formula at once agree, and the file is whole.
func TestResolveTogether(t *testing.T) {
	var text atomic.Value
	text.Store("one")
	base, _ := content(t, &text)
	pr := newProject(t, map[string]formula.Source{
		"ware.a": {Kind: formula.SourceURL, URL: base + "/a"},
		"ware.b": {Kind: formula.SourceURL, URL: base + "/b"},
	})
	pr.options.Progress = nil
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f := *pr.formula
			p, diags := Resolve(t.Context(), &f, pr.options)
			if !diags.HasErrors() {
				_, diags = p.SaveLock(true)
			}
			if diags.HasErrors() {
				t.Error(diags)
			}
		})
	}
	wg.Wait()
	if lock, _, diags := readLock(filepath.Join(pr.dir, LockName)); len(lock.entries) != 2 || diags.HasErrors() {
		t.Errorf("%v, %v", lock.entries, diags)
	}
	if left, _ := os.ReadDir(filepath.Join(pr.options.CacheDir, "download")); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestResolveCancelled(t *testing.T) {
	pr := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourcePath, Path: "."}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, diags := Resolve(ctx, pr.formula, pr.options); len(diags) != 1 || !errors.Is(Cause(diags), context.Canceled) {
		t.Errorf("got %v", diags)
	}
}

func TestExcludeLock(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/real", 0o755), os.Symlink("real", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, lock, want string }{
		{dir + "/link", dir + "/real/kiln.lock.hcl", "kiln.lock.hcl .kiln.lock.hcl.new"},
		{dir, dir + "/link/kiln.lock.hcl", "real/kiln.lock.hcl real/.kiln.lock.hcl.new"},
		{"/p", "/p/kiln.lock.hcl", "kiln.lock.hcl .kiln.lock.hcl.new"},
		{"/", "/a[b]/kiln.lock.hcl", `a\[b\]/kiln.lock.hcl a\[b\]/.kiln.lock.hcl.new`},
		{"/p/src", "/p/kiln.lock.hcl", ""},
		{"/p/kiln.lock.hcl", "/p/kiln.lock.hcl", ""},
	} {
		if got := strings.Join(excludeLock(tt.path, tt.lock), " "); got != tt.want {
			t.Errorf("excludeLock(%s, %s) = %s, want %s", tt.path, tt.lock, got, tt.want)
		}
	}
}
