package toolbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNamesHaveApplets(t *testing.T) {
	names := Names()
	for _, name := range names {
		if _, ok := lookup(name); !ok {
			t.Errorf("%s is no applet", name)
		}
	}
	if core := names[:len(names)-len(languages)]; !slices.IsSorted(core) {
		t.Error("names are not sorted")
	}
}

// TestUnknownOption: what is not supported is an error, never ignored.
func TestUnknownOption(t *testing.T) {
	takesAll := strings.Fields("[ awk echo expr false hostname kill printenv printf pwd sh test true tty which whoami yes dd seq nproc")
	dir := layFiles(t)
	for _, name := range Names() {
		if slices.Contains(takesAll, name) {
			continue
		}
		_, stderr, code := runApplet(t, dir, "", name, "--no-such-option", "fruit", "fruit")
		if code == 0 || !strings.HasPrefix(stderr, name+": ") {
			t.Errorf("%s --no-such-option: exit status %d, stderr %q", name, code, stderr)
		}
	}
}

func TestBackReferenceIsRefused(t *testing.T) {
	_, stderr, code := runApplet(t, t.TempDir(), "aa\n", "grep", `\(a\)\1`)
	if code != 2 || !strings.Contains(stderr, `back-reference \1 is not supported`) {
		t.Errorf("exit status %d, stderr %q", code, stderr)
	}
}

// TestTarStaysInside extracts archives whose entries lead out of the directory.
func TestTarStaysInside(t *testing.T) {
	dir := t.TempDir()
	canary := filepath.Join(dir, "canary")
	for _, script := range []string{
		"mkdir a && cd a && echo x > ../evil && tar cPf ../t.tar ../evil || tar cf ../t.tar ../evil",
		"ln -s .. up && tar cf l.tar up && rm up && mkdir up && echo x > up/canary && tar cf f.tar up && cat l.tar f.tar > t.tar",
	} {
		if err := os.WriteFile(canary, []byte("alive"), 0o644); err != nil {
			t.Fatal(err)
		}
		work := filepath.Join(dir, "work")
		if err := os.Mkdir(work, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := osexec.Command("/bin/sh", "-c", script)
		cmd.Dir = work
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		into := filepath.Join(work, "into")
		if err := os.Mkdir(into, 0o755); err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(work, "evil"))
		runApplet(t, into, "", "tar", "xf", "../t.tar")
		if got, err := os.ReadFile(canary); err != nil || string(got) != "alive" {
			t.Errorf("%s: the canary is %q, %v", script, got, err)
		}
		if _, err := os.Stat(filepath.Join(work, "evil")); err == nil {
			t.Errorf("%s: a file outside was written", script)
		}
		if err := os.RemoveAll(work); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJQ(t *testing.T) {
	const in = `{"b": [1, 2, 12345678901234567890], "a": "x\ty"}`
	for _, tt := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"-c", "."}, "{\"a\":\"x\\ty\",\"b\":[1,2,12345678901234567890]}\n", 0},
		{[]string{"-r", ".a"}, "x\ty\n", 0},
		{[]string{"-c", ".b | map(select(. < 3))"}, "[1,2]\n", 0},
		{[]string{"--arg", "v", "1", "-n", "$v"}, "\"1\"\n", 0},
		{[]string{"-n", "-c", "$ARGS.positional", "--args", "x", "y"}, "[\"x\",\"y\"]\n", 0},
		{[]string{"-e", ".none"}, "null\n", 1},
		{[]string{"-s", "length"}, "1\n", 0},
		{[]string{"-n", "[inputs] | length"}, "1\n", 0},
		{[]string{".a | error"}, "", 5},
		{[]string{".["}, "", 3},
		{[]string{"--tab", "{a}"}, "{\n\t\"a\": \"x\\ty\"\n}\n", 0},
	} {
		got, stderr, code := runApplet(t, t.TempDir(), in, "jq", tt.args...)
		if got != tt.want || code != tt.code {
			t.Errorf("jq %q: %q, exit status %d, stderr %q; want %q, %d", tt.args, got, code, stderr, tt.want, tt.code)
		}
	}
}

// TestDiffPatches: what diff prints turns one file into the other, for files too
// different for a shortest list of changes as well.
func TestDiffPatches(t *testing.T) {
	if _, err := osexec.LookPath("patch"); err != nil {
		t.Skip(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{10, 300, 6000} {
		dir := t.TempDir()
		var a, b strings.Builder
		for i := range n {
			line := fmt.Sprintln("line", random.IntN(n), i)
			if random.IntN(3) > 0 {
				a.WriteString(line)
			}
			if random.IntN(3) > 0 {
				b.WriteString(line)
			}
		}
		for name, text := range map[string]string{"a": a.String(), "b": b.String()} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, flag := range []string{"-u", "-U0", "-q"} {
			out, stderr, code := runApplet(t, dir, "", "diff", flag, "a", "b")
			if code != 1 {
				t.Fatalf("diff %s: exit status %d, %s", flag, code, stderr)
			}
			if flag == "-q" {
				continue
			}
			cmd := osexec.Command("patch", "-s", "-o", "c", "a")
			cmd.Dir, cmd.Stdin = dir, strings.NewReader(out)
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%d lines, %s: patch: %v\n%s", n, flag, err, text)
			}
			if got, _ := os.ReadFile(filepath.Join(dir, "c")); string(got) != b.String() {
				t.Errorf("%d lines: diff %s does not make b of a", n, flag)
			}
		}
	}
}

// BenchmarkStart starts the toolbox as a process: it is part of every step. The test binary
// is larger than the toolbox, so the ratio to an empty program is what counts.
func BenchmarkStart(b *testing.B) {
	shell := filepath.Join(layBin(b), "sh")
	for b.Loop() {
		if err := osexec.Command(shell, "-c", "true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkApplet runs an applet within the shell's process.
func BenchmarkApplet(b *testing.B) {
	dir := layFiles(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, code := runApplet(b, dir, "", "grep", "-c", "an", "fruit"); code != 0 {
			b.Fatal(code)
		}
	}
}
