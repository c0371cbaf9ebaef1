package functions

import (
	"bytes"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const kiln = "../../bin/kiln"

// TestFunctions runs the example on the interpreters that are installed here.
func TestFunctions(t *testing.T) {
	for _, file := range []string{kiln, "/usr/bin/python3", "/usr/bin/node"} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("needs %s: %v", file, err)
		}
	}
	dir := t.TempDir()
	lib := strings.TrimSpace(run(t, nil, "/usr/bin/python3", "-c", `import sysconfig; print(sysconfig.get_path("stdlib"))`))
	run(t, nil, "sh", "interpreter.sh", dir+"/python", "/usr/bin/python3", lib)
	node := []string{"interpreter.sh", dir + "/node", "/usr/bin/node"}
	if _, err := os.Stat("/usr/share/nodejs"); err == nil { // where Debian keeps parts of Node
		node = append(node, "/usr/share/nodejs")
	}
	run(t, nil, "sh", node...)
	run(t, []string{"CGO_ENABLED=0"}, "go", "build", "-o", dir+"/go/summary", "./summary")

	env := []string{"KILN_VAR_python=" + dir + "/python", "KILN_VAR_node=" + dir + "/node", "KILN_VAR_go=" + dir + "/go"}
	for _, home := range []string{"DATA", "CACHE", "CONFIG"} {
		env = append(env, "KILN_"+home+"_HOME="+filepath.Join(dir, home))
	}
	copyExample(t, dir+"/example")
	run(t, env, kiln, "run", dir+"/example", "-o", "book="+dir+"/book")
	book, err := os.ReadFile(dir + "/book")
	if err != nil {
		t.Fatal(err)
	}
	want := "fire.txt (34 words)\nClay goes in soft, in the shape that hands gave it.\nFire makes of it what water cannot undo:\n" +
		"heat.txt (30 words)\nA kiln keeps its heat.\nThat is all it does, and all the rest follows:\n67 words in 3 texts\n"
	if string(book) != want {
		t.Errorf("book:\n%s\nwant:\n%s", book, want)
	}
	if again := run(t, env, kiln, "plan", dir+"/example"); !strings.Contains(again, "7 steps: 0 to run, 0 waiting, 7 remembered") {
		t.Errorf("once more:\n%s", again)
	}
	if less := run(t, env, kiln, "plan", dir+"/example", "--var", "least=32"); !strings.Contains(less, "6 steps: 1 to run, 0 waiting, 5 remembered") {
		t.Errorf("with fewer pages:\n%s", less)
	}
}

// copyExample copies the formula to where a lock file can be written beside it.
func copyExample(t *testing.T, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	os.Remove(to + "/kiln.lock.hcl") // of another kiln
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := osexec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, stderr.String())
	}
	return string(out)
}
