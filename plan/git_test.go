package plan

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// gitRepo makes a repository at dir with one commit of files, by path, and returns a
// function that runs git in it.
func gitRepo(t *testing.T, dir string, files map[string]string) func(args ...string) string {
	t.Helper()
	if _, err := osexec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := osexec.Command("git", append([]string{"-C", dir, "-c", "gc.auto=0", "-c", "protocol.file.allow=always"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@example.org")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	must(t, os.MkdirAll(dir, 0o755))
	run("init", "-q", "-b", "main")
	for name, content := range files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	run("add", "-A")
	run("commit", "-q", "--allow-empty", "-m", "m")
	return run
}

// gitServer serves the repositories below root over http.
func gitServer(t *testing.T, root string) string {
	t.Helper()
	path, err := osexec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Skip("git is not installed")
	}
	server := httptest.NewServer(&cgi.Handler{
		Path: string(bytes.TrimSpace(path)) + "/git-http-backend", Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_PROTOCOL=version=2", "GIT_CONFIG_GLOBAL=/dev/null"},
	})
	t.Cleanup(server.Close)
	return server.URL
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func gitSource(repository string, change ...func(*formula.Source)) map[string]formula.Source {
	s := formula.Source{Kind: formula.SourceGit, Git: repository}
	for _, f := range change {
		f(&s)
	}
	return map[string]formula.Source{"ware.a": s}
}

// listed are the entries of a ware's fileset, sorted, directories with a slash.
func (pr *project) listed(id warehouse.WareID) string {
	pr.t.Helper()
	rec, err := pr.options.Warehouse.Get(id)
	must(pr.t, err)
	var names []string
	root := pr.options.Warehouse.Fileset(rec)
	must(pr.t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(root, path); rel != "." && err == nil {
			if d.IsDir() {
				rel += "/"
			}
			names = append(names, rel)
		}
		return err
	}))
	return strings.Join(names, " ")
}

func TestResolveGit(t *testing.T) {
	pr := newProject(t, gitSource("../up", func(s *formula.Source) { s.Ref = "v1" }))
	git := gitRepo(t, filepath.Join(pr.world.dir, "up"), map[string]string{"one": "1", "sub/two": "2"})
	git("tag", "-a", "-m", "m", "v1")
	p, changes := pr.resolve()
	id := p.Wares["ware.a"]
	if id.Packtype != "tree" || len(changes) != 1 || pr.listed(id) != "one sub/ sub/two" {
		t.Fatalf("%s, %v", id, changes)
	}
	for _, want := range []string{`git    = "../up"`, `ref    = "v1"`, `commit = "` + git("rev-parse", "v1^{}") + `"`} {
		if !strings.Contains(pr.lockText(), want) {
			t.Errorf("the lock file has no %s:\n%s", want, pr.lockText())
		}
	}
	// The commit is a name of the ware too.
	rec, err := pr.options.Warehouse.Get(warehouse.WareID{Packtype: "git", Hash: git("rev-parse", "HEAD")})
	if err != nil || rec.Tree != id {
		t.Errorf("by its commit: %v, %v", rec.Tree, err)
	}

	// The tag moves, the ware stays; it comes back from the commit.
	must(t, os.WriteFile(filepath.Join(pr.world.dir, "up/three"), nil, 0o644))
	git("add", "-A")
	git("commit", "-q", "-m", "m")
	git("tag", "-f", "v1")
	must(t, pr.options.Warehouse.Remove(id))
	p, changes = pr.resolve()
	if diags := p.Fetch(t.Context(), []string{"ware.a"}); len(changes) > 0 || diags.HasErrors() || p.Wares["ware.a"] != id {
		t.Fatalf("%v, %v", changes, diags)
	}
	pr.options.UpdateAll = true
	p, changes = pr.resolve()
	if len(changes) != 1 || pr.listed(p.Wares["ware.a"]) != "one sub/ sub/two three" {
		t.Errorf("after an update: %v", changes)
	}
}

func TestResolveGitParts(t *testing.T) {
	up := filepath.Join(t.TempDir(), "up")
	git := gitRepo(t, up, map[string]string{"a/b/one": "1", "a/b/c/two": "2", "a/x": "3", "y": "4"})
	for _, x := range []struct {
		name   string
		change func(*formula.Source)
		want   string
	}{
		{"all", func(*formula.Source) {}, "a/ a/b/ a/b/c/ a/b/c/two a/b/one a/x y"},
		{"subdir", func(s *formula.Source) { s.Subdir = "a/b" }, "c/ c/two one"},
		{"include", func(s *formula.Source) { s.Include = []string{"**/two", "y"} }, "a/ a/b/ a/b/c/ a/b/c/two y"},
		{"exclude", func(s *formula.Source) { s.Exclude = []string{"a/b"} }, "a/ a/x y"},
		{"both", func(s *formula.Source) { s.Subdir, s.Include, s.Exclude = "a", []string{"b"}, []string{"**/one"} }, "b/ b/c/ b/c/two"},
		{"commit", func(s *formula.Source) { s.Ref = git("rev-parse", "HEAD") }, "a/ a/b/ a/b/c/ a/b/c/two a/b/one a/x y"},
	} {
		t.Run(x.name, func(t *testing.T) {
			pr := newProject(t, gitSource("file://"+up, x.change))
			p, _ := pr.resolve()
			if got := pr.listed(p.Wares["ware.a"]); got != x.want {
				t.Errorf("it has %s, want %s", got, x.want)
			}
			if _, changes := pr.resolve(); len(changes) > 0 {
				t.Errorf("resolved anew: %v", changes)
			}
			before := pr.lockText()
			x := pr.formula.Wares[0]
			x.Source.Exclude = append(x.Source.Exclude, "none")
			pr.resolve()
			if pr.lockText() == before {
				t.Error("other patterns, and the same entry")
			}
		})
	}
}

func TestResolveGitFailures(t *testing.T) {
	up := filepath.Join(t.TempDir(), "up")
	git := gitRepo(t, up, map[string]string{"a": "1", "sub/b": "2"})
	blob := git("rev-parse", "HEAD:a")
	gitRepo(t, filepath.Join(t.TempDir(), "other"), nil)
	url := gitServer(t, filepath.Dir(up))
	for _, x := range []struct {
		git, want string
		change    func(*formula.Source)
		matches   error
	}{
		{"../none", "no such file or directory", nil, ErrUnavailable},
		{up, `no branch, tag or commit "mian" (did you mean "main"?)`, func(s *formula.Source) { s.Ref = "mian" }, ErrUnavailable},
		{up, `no branch, tag or commit "xyz", there is: main`, func(s *formula.Source) { s.Ref = "xyz" }, ErrUnavailable},
		{up, "is a blob, no commit", func(s *formula.Source) { s.Ref = blob }, ErrUnavailable},
		{up + "/sub", `lies in one: name ` + up + `, and say subdir = "sub"`, nil, ErrUnavailable},
		{up + "/a", "is a file", nil, ErrUnavailable},
		{up, `"a" is no directory`, func(s *formula.Source) { s.Subdir = "a" }, nil},
		{up, `there is no directory "sub/c"`, func(s *formula.Source) { s.Subdir = "sub/c" }, nil},
		{strings.Replace(url, "//", "//me:secret@", 1) + "/up", `no branch, tag or commit "mian" (did you mean "main"?)`, func(s *formula.Source) { s.Ref = "mian" }, ErrUnavailable},
		{strings.Replace(url, "//", "//me:secret@", 1) + "/none", "404 Not Found: there is no such repository", nil, ErrUnavailable},
		{url + "/up", "the server has no commit 1212", func(s *formula.Source) { s.Ref = strings.Repeat("12", 20) }, ErrUnavailable},
	} {
		pr := newProject(t, gitSource(x.git, func(s *formula.Source) {
			if x.change != nil {
				x.change(s)
			}
		}))
		diags := pr.fail()
		text := errText(diags)
		if !strings.Contains(text, x.want) || strings.Contains(text, "secret") {
			t.Errorf("%s: %s, want %s", x.git, text, x.want)
		}
		if x.matches != nil && !errors.Is(Cause(diags), x.matches) {
			t.Errorf("%s: %v does not match %v", x.git, text, x.matches)
		}
	}
}

func TestResolveGitMismatch(t *testing.T) {
	pr := newProject(t, gitSource("../up"))
	gitRepo(t, filepath.Join(pr.world.dir, "up"), map[string]string{"a": "1"})
	p, _ := pr.resolve()
	id := p.Wares["ware.a"].String()
	must(t, pr.options.Warehouse.Remove(p.Wares["ware.a"]))
	pr.write(LockName, strings.Replace(pr.lockText(), id, "tree:1234"+id[9:], 1))
	p, _ = pr.resolve()
	diags := p.Fetch(t.Context(), []string{"ware.a"})
	if !errors.Is(Cause(diags), ErrMismatch) || !strings.Contains(errText(diags), "gives "+id) {
		t.Errorf("another ware for the commit: %s", errText(diags))
	}
}

// TestGitSubmodules names submodules in every way there is.
func TestGitSubmodules(t *testing.T) {
	root := t.TempDir()
	sub := gitRepo(t, filepath.Join(root, "sub"), map[string]string{"s": "of sub"})
	top := gitRepo(t, filepath.Join(root, "top"), map[string]string{"t": "of top"})
	url := gitServer(t, root)
	bin := t.TempDir()
	must(t, os.WriteFile(filepath.Join(bin, "ssh"), []byte("#!/bin/sh\necho no route >&2\nexit 255\n"), 0o700))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	named := func(u string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(root, "top/.gitmodules"), []byte("[submodule \"lib\"]\n\tpath = deep/lib\n\turl = "+u+"\n"), 0o644))
		top("update-index", "--add", "--cacheinfo", "160000,"+sub("rev-parse", "HEAD")+",deep/lib")
		top("add", ".gitmodules")
		top("commit", "-q", "--allow-empty", "-m", u)
	}
	for _, x := range []struct {
		module, from string
		change       func(*formula.Source)
		want         string // entries, or an error
	}{
		{"../sub", url + "/top", nil, ".gitmodules deep/ deep/lib/ deep/lib/s t"},
		{"../sub", root + "/top", nil, ".gitmodules deep/ deep/lib/ deep/lib/s t"},
		{"./../sub/", "file://" + root + "/top", nil, ".gitmodules deep/ deep/lib/ deep/lib/s t"},
		{url + "/sub", url + "/top", nil, ".gitmodules deep/ deep/lib/ deep/lib/s t"},
		{url + "/sub", root + "/top", nil, ".gitmodules deep/ deep/lib/ deep/lib/s t"},
		{root + "/sub", root + "/top", nil, ".gitmodules deep/ deep/lib/ deep/lib/s t"},
		{"../sub", url + "/top", func(s *formula.Source) { s.Subdir = "deep/lib" }, "s"},
		{"../sub", url + "/top", func(s *formula.Source) { s.Subdir = "deep" }, "lib/ lib/s"},
		{"../none", url + "/top", func(s *formula.Source) { s.NoSubmodules = true }, ".gitmodules deep/ deep/lib/ t"},
		{"../none", url + "/top", func(s *formula.Source) { s.Exclude = []string{"deep"} }, ".gitmodules t"},
		{root + "/sub", url + "/top", nil, "error: which a repository of another one cannot"},
		{"file://" + root + "/sub", url + "/top", nil, "error: which a repository of another one cannot"},
		{"../../sub", url + "/top", nil, "error: leads out of"},
		{"../none", url + "/top", nil, `error: "deep/lib": submodule: ` + url + "/none: the server answered 404"},
		{"git@example.org:sub", url + "/top", nil, "error: ssh says: no route"},
		{"ext::sh -c touch% /tmp/x", url + "/top", nil, "error: "},
		{"-u./x", url + "/top", nil, "error: "},
		{strings.Replace(url, "//", "//me:secret@", 1) + "/none", url + "/top", nil, "error: 404"},
	} {
		named(x.module)
		pr := newProject(t, gitSource(x.from, func(s *formula.Source) {
			if x.change != nil {
				x.change(s)
			}
		}))
		if want, is := strings.CutPrefix(x.want, "error: "); is {
			if text := errText(pr.fail()); !strings.Contains(text, want) || strings.Contains(text, "secret") {
				t.Errorf("%s in %s: %s, want %s", x.module, x.from, text, want)
			}
			continue
		}
		p, _ := pr.resolve()
		if got := pr.listed(p.Wares["ware.a"]); got != x.want {
			t.Errorf("%s in %s: %s, want %s", x.module, x.from, got, x.want)
		}
	}
}

// TestGitDamagedCache damages an object that was fetched.
func TestGitDamagedCache(t *testing.T) {
	root := t.TempDir()
	gitRepo(t, filepath.Join(root, "up"), map[string]string{"a": strings.Repeat("1", 1000)})
	pr := newProject(t, gitSource(gitServer(t, root)+"/up"))
	p, _ := pr.resolve()
	packs, _ := filepath.Glob(filepath.Join(pr.options.CacheDir, "git/*/objects/pack/*.pack"))
	if len(packs) != 1 {
		t.Fatal(packs)
	}
	data, err := os.ReadFile(packs[0])
	must(t, err)
	for i := 20; i < len(data)-20; i++ {
		data[i] ^= 0x55
	}
	must(t, os.Chmod(packs[0], 0o600))
	must(t, os.WriteFile(packs[0], data, 0o600))
	must(t, pr.options.Warehouse.Remove(p.Wares["ware.a"]))
	if diags := p.Fetch(t.Context(), []string{"ware.a"}); diags.HasErrors() {
		t.Error(diags)
	}
	pr.listed(p.Wares["ware.a"])
}

func TestGitWare(t *testing.T) {
	pr := newProject(t, nil)
	up := filepath.Join(pr.world.dir, "up")
	git := gitRepo(t, up, map[string]string{"a": "1"})
	rec, err := GitWare(t.Context(), up, "main", pr.options)
	if err != nil || rec.ID.String() != "git:"+git("rev-parse", "HEAD") || rec.Tree.Packtype != "tree" || rec.Entries != 2 {
		t.Errorf("%+v, %v", rec, err)
	}
}

// TestGitKilledWhileFetching: kill -9 in the middle of a pack, then two at once.
func TestGitKilledWhileFetching(t *testing.T) {
	root := t.TempDir()
	run := gitRepo(t, filepath.Join(root, "up.git"), map[string]string{"a": strings.Repeat("1", 1000)})
	behind := gitServer(t, root)
	var whole atomic.Bool
	half := make(chan struct{}, 1)
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), r.Method, behind+r.URL.String(), r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header, req.ContentLength = r.Header, r.ContentLength
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		body, _ := io.ReadAll(resp.Body)
		if at := bytes.Index(body, []byte("PACK")); at >= 0 && !whole.Load() {
			w.Write(body[:at+20])
			w.(http.Flusher).Flush()
			half <- struct{}{}
			<-r.Context().Done()
			return
		}
		w.Write(body)
	})
	pr := newProject(t, nil)
	start := func() *osexec.Cmd {
		cmd := osexec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killedEnv+"="+pr.world.dir+" "+base+"/up.git")
		cmd.Stderr = os.Stderr
		must(t, cmd.Start())
		return cmd
	}
	cmd := start()
	<-half
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	left := filepath.Join(pr.world.dir, "cache/git/*/objects/pack/tmp_*")
	if _, err := os.Stat(filepath.Join(pr.dir, LockName)); err == nil {
		t.Error("a lock file was written")
	}
	whole.Store(true)
	first, second := start(), start()
	must(t, first.Wait())
	must(t, second.Wait())
	if files, _ := filepath.Glob(left); len(files) != 0 {
		t.Errorf("left %v", files)
	}
	if !strings.Contains(pr.lockText(), run("rev-parse", "HEAD")) {
		t.Errorf("locked %s", pr.lockText())
	}
}
