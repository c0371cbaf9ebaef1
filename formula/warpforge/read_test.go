package warpforge

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
)

// load writes a document to a file named plot.wf and loads it.
func load(t testing.TB, text string) (*Loaded, hcl.Diagnostics) {
	t.Helper()
	file := filepath.Join(t.TempDir(), PlotFile)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Load(file)
}

// plotOf is a plot of one line for each of inputs, steps and outputs.
func plotOf(inputs, steps, outputs string) string {
	return fmt.Sprintf("{\"plot.v1\": {\n\"inputs\": {%s},\n\"steps\": {%s},\n\"outputs\": {%s}\n}}", inputs, steps, outputs)
}

// stepOf is a step with inputs that runs true and has the output out.
func stepOf(name, inputs string) string {
	return fmt.Sprintf(`%q: {"protoformula": {"inputs": {%s}, "action": {"exec": {"command": ["true"]}}, "outputs": {"out": {"from": "/out", "packtype": "tar"}}}}`, name, inputs)
}

// formulaOf is a formula on one line.
func formulaOf(inputs, action, outputs string) string {
	return fmt.Sprintf(`{"formula": {"formula.v1": {"inputs": {%s}, "action": {%s}, "outputs": {%s}}}}`, inputs, action, outputs)
}

const (
	doTrue = `"exec": {"command": ["true"]}`
	tarID  = "tar:4z9DCTxoKkStqXQRwtf9nimpfQQ36dbndDsAPCQgECfbXt3edanUrsVKCjE9TkX2v9"
)

// TestBad holds documents that are wrong against where and what is reported.
func TestBad(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string // LINE:COLUMN SUMMARY: part of the detail
	}{
		"nothing":                {"", []string{"1:1 Missing value"}},
		"no object":              {"[]", []string{"1:1 Wrong type: A document is an object, and this is a list"}},
		"empty":                  {"{}", []string{"1:1 Empty document"}},
		"not text":               {"{\"\xff\": 1}", []string{"1:3 Not a text file: 0xff"}},
		"unknown document":       {`{"plot.v2": {}}`, []string{`1:2 Unknown document: Did you mean "plot.v1"?`}},
		"two documents":          {`{"module.v1": {"name": "a"}, "plot.v1": {}}`, []string{"1:30 Two documents"}},
		"context of a module":    {`{"module.v1": {"name": "a"}, "context": {"context.v1": {"warehouses": {}}}}`, []string{"1:1 Context without a formula"}},
		"catalog":                {`{"catalogmodule.v1": {}}`, []string{"1:2 Part of a catalog"}},
		"missing comma":          {"{\"plot.v1\": {\n\"inputs\": {}\n\"steps\": {}, \"outputs\": {}}}", []string{"2:12 Missing comma: before what follows at line 3"}},
		"comma without value":    {`{"plot.v1": {"inputs": {,}}}`, []string{"1:25 Unexpected comma"}},
		"two commas":             {`{"plot.v1": {"inputs": {},, "steps": {}, "outputs": {}}}`, []string{"1:27 Unexpected comma"}},
		"unclosed":               {`{"plot.v1": {"inputs": {}`, []string{"1:1 Unclosed object", "1:13 Unclosed object"}},
		"unclosed string":        {`{"plot.v1`, []string{"1:2 Invalid object property name", "1:10 Invalid JSON string"}},
		"huge number":            {`{"plot.v1": 1e99999999}`, []string{"1:13 Unexpected number"}},
		"missing attributes":     {`{"plot.v1": {}}`, []string{`1:13 Missing attribute: "inputs"`, `1:13 Missing attribute: "steps"`, `1:13 Missing attribute: "outputs"`}},
		"unknown attribute":      {`{"plot.v1": {"inputs": {}, "steps": {}, "outputs": {}, "output": {}}}`, []string{`1:56 Unknown attribute: Did you mean "outputs"?`}},
		"duplicate":              {plotOf(`"a": "literal:x", "a": "literal:y"`, "", ""), []string{`2:30 Duplicate name: "a" already, at line 2`}},
		"null":                   {plotOf("", "", "") + "x", []string{"5:3 Extraneous data after value"}},
		"inputs of wrong type":   {`{"plot.v1": {"inputs": [], "steps": {}, "outputs": {}}}`, []string{"1:24 Wrong type: an object, and this is a list"}},
		"unknown input":          {plotOf(`"a": "wear:tar:x"`, "", ""), []string{`2:17 Unknown kind of input: and "ware:"`}},
		"input without kind":     {plotOf(`"a": "x"`, "", ""), []string{`2:17 Unknown kind of input`}},
		"ware id":                {plotOf(`"a": "ware:tar"`, "", ""), []string{`2:17 Invalid ware id: "tar" is no ware id`}},
		"ware id with slash":     {plotOf(`"a": "ware:tar:../x"`, "", ""), []string{`2:17 Invalid ware id`}},
		"mount":                  {plotOf(`"a": "mount:ro"`, "", ""), []string{`2:17 Invalid input: mount:ro:PATH`}},
		"mount mode":             {plotOf(`"a": "mount:rx:/x"`, "", ""), []string{`2:17 Unknown mode`}},
		"catalog reference":      {plotOf(`"a": "catalog:x:y"`, "", ""), []string{`2:17 Invalid input: catalog:MODULE:RELEASE:ITEM`}},
		"catalog release":        {plotOf(`"a": "catalog:x:../y:z"`, "", ""), []string{`2:17 Invalid input`}},
		"catalog module":         {plotOf(`"a": "catalog:X:y:z"`, "", ""), []string{`2:17 Invalid module name`}},
		"ingest":                 {plotOf(`"a": "ingest:svn:.:x"`, "", ""), []string{`2:17 Invalid input: ingest:git:PATH:REF`}},
		"complex":                {plotOf(`"a": {"basis": "literal:x"}`, "", ""), []string{`2:17 Missing attribute: "filters"`}},
		"filters":                {plotOf(`"a": {"basis": "literal:x", "filters": {"uid": 0}}`, "", ""), []string{`2:59 Wrong type`}},
		"pipe at the top":        {plotOf(`"a": "pipe:x:y"`, "", ""), []string{`2:17 Pipe to nowhere`}},
		"pipe to no input":       {plotOf(`"root": "literal:x"`, stepOf("s", `"/": "pipe::roots"`), ""), []string{`3:50 Pipe to nowhere: Did you mean "root"?`}},
		"pipe to no step":        {plotOf("", stepOf("s", `"/": "pipe:r:out"`), ""), []string{`3:50 Pipe to nowhere: no step "r". Did you mean "s"?`}},
		"pipe to no output":      {plotOf("", stepOf("s", "")+","+stepOf("t", `"/": "pipe:s:outs"`), ""), []string{`3:188 Pipe to nowhere: Did you mean "out"?`}},
		"output to nowhere":      {plotOf("", "", `"o": "pipe:s:out"`), []string{`4:18 Pipe to nowhere: no step "s"`}},
		"output no pipe":         {plotOf("", "", `"o": "literal:x"`), []string{`4:18 Invalid output`}},
		"output is a mount":      {plotOf(`"m": "mount:ro:/x"`, "", `"o": "pipe::m"`), []string{`4:18 Output is no ware`}},
		"circle":                 {plotOf("", stepOf("a", `"/": "pipe:b:out"`)+","+stepOf("b", `"/": "pipe:a:out"`), ""), []string{`3:11 Steps in a circle: a takes from b takes from a`}},
		"circle of one":          {plotOf("", stepOf("a", `"/": "pipe:a:out"`), ""), []string{`3:11 Steps in a circle: a takes from a`}},
		"two kinds of step":      {plotOf("", `"s": {"plot": {}, "protoformula": {}}`, ""), []string{`3:16 Not one kind of step`}},
		"unknown kind of step":   {plotOf("", `"s": {"formula": {}}`, ""), []string{`3:17 Unknown kind of step: and "protoformula"`}},
		"step name":              {plotOf("", stepOf("a:b", ""), ""), []string{`3:11 Invalid name`}},
		"no action":              {formulaOf("", "", ""), []string{`1:53 Not one action`}},
		"unknown action":         {formulaOf("", `"exe": {}`, ""), []string{`1:54 Unknown action: Did you mean "exec"?`}},
		"network":                {formulaOf("", `"exec": {"command": ["x"], "network": "yes"}`, ""), []string{`1:92 Wrong type: true or false, and this is a string`}},
		"command":                {formulaOf("", `"exec": {"command": "x"}`, ""), []string{`1:74 Wrong type`}},
		"command of numbers":     {formulaOf("", `"exec": {"command": [1]}`, ""), []string{`1:75 Wrong type: Entry 1 of the command is a string, and this is a number`}},
		"interpreter":            {formulaOf("", `"script": {"interpreter": "", "contents": ["x"]}`, ""), []string{`1:80 No interpreter`}},
		"nul":                    {formulaOf("", `"exec": {"command": ["a\u0000b"]}`, ""), []string{`1:75 Invalid action`}},
		"port":                   {formulaOf(`"src": "literal:x"`, doTrue, ""), []string{`1:40 Invalid port`}},
		"reserved port":          {formulaOf(`"/proc/x": "literal:x"`, doTrue, ""), []string{`1:40 Reserved path`}},
		"two inputs at a port":   {formulaOf(`"/a": "literal:x", "/a/": "literal:y"`, doTrue, ""), []string{`1:59 Two inputs at one port`}},
		"variable name":          {formulaOf(`"$A-B": "literal:x"`, doTrue, ""), []string{`1:40 Invalid variable name`}},
		"variable of a ware":     {formulaOf(`"$A": "ware:`+tarID+`"`, doTrue, ""), []string{`1:46 Variable is not a literal: this is a ware`}},
		"variable of an output":  {plotOf("", stepOf("s", "")+","+stepOf("t", `"$V": "pipe:s:out"`), ""), []string{`3:189 Variable is not a literal: this is a ware`}},
		"variable of a mount":    {formulaOf(`"$A": "mount:ro:/x"`, doTrue, ""), []string{`1:46 Variable is not a literal: this is a mount`}},
		"variable of nul":        {formulaOf(`"$A": "literal:\u0000"`, doTrue, ""), []string{`1:46 Invalid value`}},
		"root mounted rw":        {formulaOf(`"/": "mount:rw:/x"`, doTrue, ""), []string{`1:40 Invalid mode`}},
		"filters of a literal":   {formulaOf(`"/a": {"basis": "literal:x", "filters": {"uid": "0"}}`, doTrue, ""), []string{`1:40 Filters without a ware`}},
		"output from a variable": {formulaOf("", doTrue, `"o": {"from": "$X"}`), []string{`1:112 Output is a variable`}},
		"output from nowhere":    {formulaOf("", doTrue, `"o": {"from": "x"}`), []string{`1:112 Invalid output`}},
		"output reserved":        {formulaOf("", doTrue, `"o": {"from": "/dev/x"}`), []string{`1:112 Reserved path`}},
		"output in a mount":      {formulaOf(`"/m": "mount:ro:/x"`, doTrue, `"o": {"from": "/m/x"}`), []string{`1:117 Output in a read-only input`}},
		"output without a name":  {formulaOf("", doTrue, `"": {"from": "/x"}`), []string{`1:98 Invalid name`}},
		"packtype":               {formulaOf("", doTrue, `"o": {"from": "/x", "packtype": "tat"}`), []string{`1:130 Unknown packtype: Did you mean "tar"?`}},
		"context":                {`{"formula": {"formula.v1": {"inputs": {}, "action": {` + doTrue + `}, "outputs": {}}}, "context": {"context.v1": {"warehouses": {"x": "y"}}}}`, []string{`1:145 Invalid ware id`}},
	} {
		t.Run(name, func(t *testing.T) {
			l, diags := load(t, tt.text)
			var got []string
			for _, d := range diags {
				if d.Severity == hcl.DiagError {
					got = append(got, fmt.Sprintf("%d:%d %s: %s", d.Subject.Start.Line, d.Subject.Start.Column, d.Summary, d.Detail))
				}
			}
			if len(got) != len(tt.want) {
				t.Fatalf("reported %q, want %q", got, tt.want)
			}
			for i, want := range tt.want {
				place, detail, _ := strings.Cut(want, ": ")
				if !strings.HasPrefix(got[i], place+": ") || !strings.Contains(got[i], detail) {
					t.Errorf("reported %q, want %q", got[i], want)
				}
			}
			if l.Document != nil || l.Formula.Steps != nil {
				t.Error("a wrong document gave a formula")
			}
		})
	}
}

// TestNesting reads what would overflow a stack: a diagnostic, and soon.
func TestNesting(t *testing.T) {
	for name, text := range map[string]string{
		"lists":         strings.Repeat("[", maxDocument-1),
		"objects":       strings.Repeat(`{"a":`, maxDocument/5),
		"100 MB":        strings.Repeat("[", 100_000_000),
		"closed plots":  strings.Repeat(`{"plot.v1":`, 1000) + "1" + strings.Repeat("}", 1000),
		"open brackets": `{"plot.v1": "` + strings.Repeat("[", 1000) + `", "x": ` + strings.Repeat("[", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := load(t, text)
			if len(diags) != 1 || diags[0].Summary != "Nested too deeply" && diags[0].Summary != "No formula found" {
				t.Errorf("reported %v", diags)
			}
		})
	}
}

// TestModuleNames holds the rules for module names against names.
func TestModuleNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	good := []string{"a", "my-domain.org", "my-domain.org/path/to/thing", "my.subdomain.domain.org/path-to-thing", "my-domain.org/path.to.thing",
		"0/1", long + ".org", strings.Repeat(long+".", 3) + strings.Repeat("a", 61), "a/" + strings.Repeat("b", 300)}
	bad := []string{"", ".", "..", "./foo", "my-domain.org/..", "mYdoMaIn", "my-domain.org/myPath", "-a", "a-", "a/-b", "a/b-/c", "/a", "a/", "a//b",
		"a_b", "a/b_c", "a b", "a:b", "é", "a..b", "a-.b", "a.-b", long + "a.org", strings.Repeat(long+".", 3) + strings.Repeat("a", 62)}
	for _, name := range good {
		if why := moduleNameProblem(name); why != "" {
			t.Errorf("%q: %s", name, why)
		}
	}
	for _, name := range bad {
		if moduleNameProblem(name) == "" {
			t.Errorf("%q is taken for a module name", name)
		}
	}
}

// TestLenient reads what warpforge reads although JSON does not have it, and warns of
// what cannot be meant.
func TestLenient(t *testing.T) {
	l, diags := load(t, "\xef\xbb\xbf"+plotOf(`"a": "literal:,]", "root": "ware:foo:x",`, stepOf("s", `"$A": "pipe::a", "/": "pipe::root",`)+",", `"o": "pipe:s:out",`))
	var warned []string
	for _, d := range diags {
		warned = append(warned, fmt.Sprint(d.Severity == hcl.DiagWarning, d.Summary))
	}
	if !slices.Equal(warned, []string{"trueUnlikely ware id"}) {
		t.Errorf("reported %v", diags)
	}
	if len(l.Formula.Steps) != 1 || l.Formula.Steps[0].Env[0].Value != ",]" {
		t.Errorf("got %+v", l.Formula.Steps)
	}
}

// TestOrder holds the order of steps against warpforge's: by name, what a step takes
// from first, sub-plots in their own order.
func TestOrder(t *testing.T) {
	sub := func(name, inputs string, steps ...string) string {
		return fmt.Sprintf(`%q: {"plot": {"inputs": {%s}, "steps": {%s}, "outputs": {"out": "pipe:y:out"}}}`, name, inputs, strings.Join(steps, ","))
	}
	text := plotOf("", strings.Join([]string{
		stepOf("d", ""), stepOf("a", `"/x": "pipe:z:out", "/y": "pipe:c:out"`), stepOf("c", ""),
		sub("z", `"q": "pipe:e:out"`, stepOf("y", `"/": "pipe::q", "/x": "pipe:x:out"`), stepOf("x", "")), stepOf("e", ""), stepOf("b", ""),
	}, ","), "")
	l, diags := load(t, text)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var order []string
	for _, s := range l.Formula.Steps {
		order = append(order, strings.TrimPrefix(s.Addr, "step."))
	}
	if want := "c e z.x z.y a b d"; strings.Join(order, " ") != want {
		t.Errorf("order %v, want %s", order, want)
	}
}
