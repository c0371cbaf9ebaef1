package git

import (
	"bytes"
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// runGit runs the real git in dir, which the tests make repositories with and ask
// for second opinions. Its configuration is of no person, its times are fixed.
func runGit(t testing.TB, dir string, args ...string) string {
	t.Helper()
	return gitInput(t, dir, "", args...)
}

func gitInput(t testing.TB, dir, input string, args ...string) string {
	t.Helper()
	git, err := osexec.LookPath("git")
	if err != nil {
		t.Skip("git is not installed")
	}
	cmd := osexec.Command(git, append([]string{"-c", "protocol.file.allow=always", "-c", "gc.auto=0"}, args...)...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@example.org",
		"GIT_AUTHOR_DATE=1700000000 +0100", "GIT_COMMITTER_DATE=1700000001 +0100")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// newRepo makes a repository with one commit of files, by path. Content that begins
// with "-> " makes a symlink, a path that ends in "*" an executable.
func newRepo(t testing.TB, files map[string]string, init ...string) string {
	t.Helper()
	dir := t.TempDir()
	runGit(t, dir, append([]string{"init", "-q", "-b", "main"}, init...)...)
	commitFiles(t, dir, files)
	return dir
}

func commitFiles(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, strings.TrimSuffix(name, "*"))
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if target, is := strings.CutPrefix(content, "-> "); is {
			must(t, os.Symlink(target, path))
			continue
		}
		mode := os.FileMode(0o644)
		if strings.HasSuffix(name, "*") {
			mode = 0o755
		}
		must(t, os.WriteFile(path, []byte(content), mode))
	}
	runGit(t, dir, "add", "-A", "-f")
	runGit(t, dir, "commit", "-q", "--allow-empty", "-m", "m")
	return runGit(t, dir, "rev-parse", "HEAD")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openLocal(t testing.TB) *warehouse.Local {
	t.Helper()
	l, err := warehouse.OpenLocal(t.TempDir())
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func openRepo(t testing.TB, dir string) *Repo {
	t.Helper()
	r, err := Open(dir)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// archived is the tree id of what git archive and tar make of a commit.
func archived(t testing.TB, dir, commit string) warehouse.WareID {
	t.Helper()
	to := t.TempDir()
	cmd := osexec.Command("sh", "-c", `git -c tar.umask=0022 -C "$1" archive "$2" | tar x -p -C "$3"`, "sh", dir, commit, to)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git archive: %v\n%s", err, out)
	}
	must(t, os.Chmod(to, 0o755))
	res, err := pack.Scan(context.Background(), to, pack.Options{})
	must(t, err)
	return res.ID
}

var someFiles = map[string]string{
	"README": "read me\n", "bin/run*": "#!/bin/sh\n", "a/b/c/deep": strings.Repeat("deep ", 1000),
	"link": "-> bin/run", "dangling": "-> ../../nowhere", "empty": "", "name with \n newline": "x",
	"sp ace/ünïcode": "y", "a.b": "sorts between", "a-b": "and before",
}

func TestCheckout(t *testing.T) {
	dir := newRepo(t, someFiles)
	for i := range 30 { // versions of one file, for deltas
		commitFiles(t, dir, map[string]string{"big": strings.Repeat(fmt.Sprintf("line %d\n", i), 3000) + strings.Repeat("the same\n", 3000)})
	}
	first := runGit(t, dir, "rev-list", "--max-parents=0", "HEAD")
	for _, how := range []string{"loose", "packed", "mixed", "alternates"} {
		switch how {
		case "packed":
			runGit(t, dir, "repack", "-q", "-a", "-d", "-f", "--depth=50")
			runGit(t, dir, "pack-refs", "--all")
			runGit(t, dir, "prune-packed")
		case "mixed":
			commitFiles(t, dir, map[string]string{"a/new": "not packed"})
		case "alternates":
			to := filepath.Join(t.TempDir(), "clone")
			runGit(t, dir, "clone", "-q", "--shared", dir, to)
			dir = to
		}
		r := openRepo(t, dir)
		head, err := r.Resolve("")
		must(t, err)
		for _, commit := range []string{head.String(), first} {
			id, err := r.Resolve(commit)
			must(t, err)
			rec, err := r.Checkout(t.Context(), openLocal(t), id, Options{Name: dir})
			must(t, err)
			if want := archived(t, dir, commit); rec.ID != want {
				t.Errorf("%s: commit %s is %s, git archive makes %s", how, commit, rec.ID, want)
			}
		}
	}
}
