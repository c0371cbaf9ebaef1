package formula

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFunctions evaluates the functions that are kiln's own, as JSON.
func TestFunctions(t *testing.T) {
	files := map[string]string{
		"a.txt": "text\n", "b.md": "", "sub/c.txt": "c", "sub/deep/d.txt": "d",
		"t.tmpl": "%{ for w in words }(${upper(w)})%{ endfor }",
	}
	for _, tt := range []struct{ expr, want string }{
		{`file("a.txt")`, `"text\n"`},
		{`file("./sub/../a.txt")`, `"text\n"`},
		{`fileexists("a.txt")`, `true`},
		{`fileexists("nope")`, `false`},
		{`fileexists("sub")`, `false`},
		{`fileset(".", "*.txt")`, `["a.txt"]`},
		{`fileset(".", "**/*.txt")`, `["a.txt","sub/c.txt","sub/deep/d.txt"]`},
		{`fileset("sub", "**")`, `["c.txt","deep/d.txt"]`},
		{`fileset(".", "*.{md,rs}")`, `["b.md"]`},
		{`fileset(".", "none*")`, `[]`},
		{`filesha256("a.txt") == sha256(file("a.txt"))`, `true`},
		{`templatefile("t.tmpl", { words = ["a", "b"] })`, `"(A)(B)"`},
		{`templatefile("t.tmpl", { words = toset(["b", "a"]) })`, `"(A)(B)"`},
		{`md5("")`, `"d41d8cd98f00b204e9800998ecf8427e"`},
		{`sha1("")`, `"da39a3ee5e6b4b0d3255bfef95601890afd80709"`},
		{`sha256("")`, `"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`},
		{`substr(sha512(""), 0, 8)`, `"cf83e135"`},
		{`base64decode(base64encode("é"))`, `"é"`},
		{`urlencode("a b&c/é")`, `"a+b%26c%2F%C3%A9"`},
		{`basename("/a/b.c")`, `"b.c"`},
		{`dirname("/a/b.c")`, `"/a"`},
		{`length("é🇩🇪")`, `2`},
		{`length([1, "a"])`, `2`},
		{`length({ a = 1 })`, `1`},
		{`length(toset([1, 1]))`, `1`},
		{`toset(["b", "a", "b"])`, `["a","b"]`},
		{`toset([1, "a"])`, `["1","a"]`},
		{`toset([])`, `[]`},
		{`tolist(["b", "a"])`, `["b","a"]`},
		{`tolist([true, "a"])`, `["true","a"]`},
		{`tomap({ a = 1, b = 2 })`, `{"a":1,"b":2}`},
		{`tomap({ a = 1, b = "x" })`, `{"a":"1","b":"x"}`},
		{`tomap({})`, `{}`},
		{`setproduct(["a", "b"], [1])`, `[["a",1],["b",1]]`},
		{`distinct([ware.base, ware.base, ware.other]) == tolist([ware.base, ware.other])`, `true`},
		{`length(toset([ware.base, ware.base, ware.other]))`, `2`},
		{`ware.base == ware.base`, `true`},
		{`ware.base == ware.other`, `false`},
		{`try(local.object.nope, "else")`, `"else"`},
		{`can(tonumber("x"))`, `false`},
		{`yamldecode("a: [1, x]")`, `{"a":[1,"x"]}`},
		{`formatdate("YYYY", timeadd("2026-12-31T23:00:00Z", "2h"))`, `"2027"`},
	} {
		t.Run(tt.expr, func(t *testing.T) {
			dir := writeFormula(t, fmt.Sprintf(`
ware "base" { builtin = "toolbox" }
ware "other" { builtin = "toolbox" }
locals { object = {} }
step "s" {
  inputs = { "/" = ware.base }
  exec   = [jsonencode(%s)]
}
`, tt.expr))
			for name, text := range files {
				name = filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			f, diags := Load(dir, LoadOptions{})
			if diags.HasErrors() {
				t.Fatal(text(f, diags))
			}
			if got := strings.TrimSpace(f.Steps[0].Action.Exec[0]); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
