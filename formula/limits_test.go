package formula

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestNoFormula gives Load what is no formula file: it says what it looked for.
func TestNoFormula(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write("near/other.hcl", "")
	write("near/kiln.lock.hcl", "")
	write("isdir/kiln.hcl/x", "")
	write("link/x", "")
	write("fifo/x", "")
	write("huge/x", "")
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link", FileName)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo", FileName), 0o644); err != nil {
		t.Fatal(err)
	}
	write("huge/kiln.hcl", "")
	if err := os.Truncate(filepath.Join(dir, "huge", FileName), maxFormula+1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"nowhere":     "no such file",
		"near":        `Beside it there is "other.hcl"`,
		"near/o.hcl":  `Beside it there is "other.hcl"`,
		"isdir":       "it is a directory",
		"link":        "leaves the formula's directory",
		"fifo":        "not a regular file",
		"huge":        "larger than 8 MiB",
		"near/x/y/z":  "no such file",
		"\x00":        "invalid argument",
		"near/\xff/é": "no such file",
	} {
		f, diags := Load(filepath.Join(dir, path), LoadOptions{})
		if f == nil || len(diags) != 1 || diags[0].Summary != "No formula found" || !strings.Contains(diags[0].Detail, want) {
			t.Errorf("Load(%q): %v; want %q", path, diags, want)
		}
	}
}

// TestDeepInput gives Load what would overflow the stack of a recursive parser or
// evaluator, in every shape that nests.
func TestDeepInput(t *testing.T) {
	const n = 25_000
	rep := strings.Repeat
	for name, text := range map[string]string{
		"parentheses":    "a = " + rep("(", n) + "1" + rep(")", n),
		"open only":      "a = " + rep("(", n),
		"lists":          "a = " + rep("[", n) + rep("]", n),
		"objects":        "a = " + rep("{a=", n) + "1" + rep("}", n),
		"calls":          "a = " + rep("f(", n) + "1" + rep(")", n),
		"not":            "a = " + rep("!", n) + "true",
		"minus":          "a = " + rep("-", n) + "1",
		"conditions":     "a = " + rep("true?1:", n) + "2",
		"sums":           "a = 1" + rep("+1", n),
		"sums on lines":  "a = (\n1" + rep("+\n1", 4*n) + ")",
		"index":          "a = b" + rep("[c]", n),
		"splat":          "a = b" + rep("[*].c", n),
		"for":            "a = " + rep("[for a in b:", n) + "1" + rep("]", n),
		"interpolation":  "a = " + rep(`"${`, n) + "1" + rep(`}"`, n),
		"directives":     `a = "` + rep("%{if true}", n) + rep("%{endif}", n) + `"`,
		"blocks":         rep("a {\n", n) + rep("}\n", n),
		"heredocs":       "a = " + rep("<<A\n${", n) + "1" + rep("}\nA\n", n),
		"hidden by text": "# " + rep(")", n) + "\na = " + rep("(", n) + "1" + rep(")", n),
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := Load(writeFormula(t, "locals {\n"+text+"\n}\n"), LoadOptions{})
			if !diags.HasErrors() || diags[0].Summary != "Nested too deeply" {
				t.Errorf("%d diagnostics, the first: %.200v", len(diags), diags)
			}
		})
	}
}

// TestWideInput loads what is long but not deep.
func TestWideInput(t *testing.T) {
	var wide strings.Builder
	wide.WriteString("locals {\n  list = [\n")
	for i := range 20_000 {
		fmt.Fprintf(&wide, "    { a = %d, b = [1, 2 + 3] }, # (((\n", i)
	}
	wide.WriteString("  ]\n  text = <<-EOT\n")
	wide.WriteString(strings.Repeat("    ((([[[ ${1 + 1} %{ if true }x%{ endif }\n", 3000))
	wide.WriteString("  EOT\n}\n")
	if _, diags := Load(writeFormula(t, wide.String()), LoadOptions{}); len(diags) > 0 {
		t.Errorf("%.300v", diags)
	}
}

// TestLongChain follows references as far as is allowed, and no further.
func TestLongChain(t *testing.T) {
	chain := func(n int) string {
		var b strings.Builder
		b.WriteString("locals {\n  l0 = 1\n")
		for i := range n {
			fmt.Fprintf(&b, "  l%d = local.l%d\n", i+1, i)
		}
		fmt.Fprintf(&b, "  a = local.l%d\n}\n", n)
		return b.String()
	}
	if _, diags := Load(writeFormula(t, chain(maxChain-10)), LoadOptions{}); len(diags) > 0 {
		t.Errorf("%.300v", diags)
	}
	_, diags := Load(writeFormula(t, chain(3*maxChain)), LoadOptions{})
	if !diags.HasErrors() || diags[0].Summary != "Chain of references too long" {
		t.Errorf("%.300v", diags)
	}
}

// TestTooManyModules has modules that double at each level.
func TestTooManyModules(t *testing.T) {
	dir := t.TempDir()
	for level := range 20 {
		at := filepath.Join(dir, fmt.Sprint(level))
		if level == 0 {
			at = dir
		}
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		source := "../"
		if level == 0 {
			source = "./"
		}
		text := ""
		for _, name := range []string{"a", "b"} {
			text += fmt.Sprintf("module %q { source = \"%s%d\" }\n", name, source, level+1)
		}
		if level == 19 {
			text = ""
		}
		if err := os.WriteFile(filepath.Join(at, FileName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, diags := Load(dir, LoadOptions{})
	if !diags.HasErrors() || diags[0].Summary != "Too many modules" {
		t.Errorf("%.300v", diags)
	}
}
