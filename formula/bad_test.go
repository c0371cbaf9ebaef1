package formula

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
)

// A fixture is a file in testdata/bad, or a directory there with a kiln.hcl. In any of
// its files, `# ERROR: SUMMARY` says that a problem of that summary is reported on
// that line, `# ERROR NOWHERE: SUMMARY` one without a place. `# VAR: NAME=VALUE` and
// `# VARFILE: FILE` say how it is loaded.
type fixture struct {
	path    string
	options LoadOptions
	want    []string // "FILE:LINE: SUMMARY", sorted
}

var expectation = regexp.MustCompile(`# (ERROR NOWHERE|ERROR|VARFILE|VAR): ([^#]*[^# ])`)

func readFixture(t *testing.T, path string) fixture {
	t.Helper()
	x := fixture{path: path, options: LoadOptions{Vars: make(map[string]string)}}
	err := filepath.WalkDir(path, func(name string, d os.DirEntry, err error) error {
		if err == nil && filepath.Ext(name) == ".hcl" {
			x.readExpectations(t, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(x.want)
	return x
}

func (x *fixture) readExpectations(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		for _, m := range expectation.FindAllStringSubmatch(lines.Text(), -1) {
			switch m[1] {
			case "ERROR":
				x.want = append(x.want, fmt.Sprintf("%s:%d: %s", name, n, m[2]))
			case "ERROR NOWHERE":
				x.want = append(x.want, "nowhere: "+m[2])
			case "VAR":
				key, value, _ := strings.Cut(m[2], "=")
				x.options.Vars[key] = value
			case "VARFILE":
				x.options.VarFiles = append(x.options.VarFiles, filepath.Join(filepath.Dir(name), m[2]))
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// problems lists diagnostics in the form of fixture.want.
func problems(diags hcl.Diagnostics) []string {
	var list []string
	for _, d := range diags {
		at := "nowhere"
		if d.Subject != nil {
			at = fmt.Sprintf("%s:%d", d.Subject.Filename, d.Subject.Start.Line)
		}
		list = append(list, at+": "+d.Summary)
	}
	slices.Sort(list)
	return list
}

func badFixtures(t *testing.T) []fixture {
	t.Helper()
	files, err := filepath.Glob("testdata/bad/*.hcl")
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob("testdata/bad/*/" + FileName)
	if err != nil || len(files) == 0 || len(dirs) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range dirs {
		files = append(files, filepath.Dir(file))
	}
	var fixtures []fixture
	for _, path := range files {
		fixtures = append(fixtures, readFixture(t, path))
	}
	return fixtures
}

// TestBad requires of every fixture in testdata/bad exactly the problems it names.
func TestBad(t *testing.T) {
	for _, x := range badFixtures(t) {
		t.Run(strings.TrimPrefix(x.path, "testdata/bad/"), func(t *testing.T) {
			f, diags := Load(x.path, x.options)
			got := problems(diags)
			for _, p := range difference(got, x.want) {
				t.Errorf("not expected: %s", p)
			}
			for _, p := range difference(x.want, got) {
				t.Errorf("missing: %s", p)
			}
			out := text(f, diags)
			if strings.Contains(out, "hunter2") {
				t.Errorf("a sensitive value is shown")
			}
			if t.Failed() || testing.Verbose() {
				t.Log(out)
			}
		})
	}
}

// difference returns what a has and b has not, both sorted, as often as it has it more.
func difference(a, b []string) []string {
	var list []string
	b = slices.Clone(b)
	for _, s := range a {
		if i := slices.Index(b, s); i >= 0 {
			b = slices.Delete(b, i, i+1)
			continue
		}
		list = append(list, s)
	}
	return list
}
