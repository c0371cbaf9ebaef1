package formula

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeFormula writes text as the kiln.hcl of a new directory and returns that.
func writeFormula(tb testing.TB, text string) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func benchmarkLoad(b *testing.B, text string, steps int) {
	dir := writeFormula(b, text)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		f, diags := Load(dir, LoadOptions{})
		if diags.HasErrors() || len(f.Steps) != steps {
			b.Fatalf("%d steps, %v", len(f.Steps), diags)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*steps), "ns/step")
}

// forEachFormula has one step for each of n keys, and one that takes all of them.
func forEachFormula(n int) string {
	return fmt.Sprintf(`
locals {
  thousand = range(%d)
  keys     = flatten([for i in range(10) : [for j in local.thousand : "file-${i}-${j}.c"]])
}

ware "base" { builtin = "toolbox" }
ware "src" { path = "src" }

step "config" {
  inputs  = { "/" = ware.base }
  script  = ["echo > /config"]
  outputs = { config = "/config" }
}

step "compile" {
  for_each = toset(local.keys)
  inputs = {
    "/"       = ware.base
    "/src"    = ware.src
    "/config" = step.config.config
    "$NAME"   = each.key
  }
  script  = ["set -e", "cc -c /src/${each.key} -o /out.o"]
  outputs = { obj = "/out.o" }
}

step "link" {
  inputs = merge({ "/" = ware.base }, { for name, c in step.compile : "/obj/${name}" => c.obj })
  exec   = ["ld", "/obj"]
}
`, n/10)
}

func BenchmarkLoadForEach10000(b *testing.B) {
	text, _, _ := strings.Cut(forEachFormula(10_000), "step \"link\"")
	benchmarkLoad(b, text, 10_001)
}

func BenchmarkLoadForEach10000Joined(b *testing.B) { benchmarkLoad(b, forEachFormula(10_000), 10_002) }

// blocksFormula has n step blocks, each of which takes the output of the one before.
func blocksFormula(n int) string {
	var text strings.Builder
	text.WriteString("ware \"base\" { builtin = \"toolbox\" }\n")
	for i := range n {
		before := "ware.base"
		if i > 0 {
			before = fmt.Sprintf("step.s%d.out", i-1)
		}
		fmt.Fprintf(&text, `
step "s%d" {
  inputs = {
    "/"   = ware.base
    "/in" = %s
  }
  script  = ["cat /in > /out", "echo %d >> /out"]
  outputs = { out = "/out" }
}
`, i, before, i)
	}
	return text.String()
}

func BenchmarkLoadBlocks(b *testing.B) { benchmarkLoad(b, blocksFormula(1000), 1000) }

func BenchmarkLoadBlocks10000(b *testing.B) { benchmarkLoad(b, blocksFormula(10_000), 10_000) }
