package gitremote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/pack/git"
)

func runGit(t testing.TB, dir string, args ...string) string {
	t.Helper()
	program, err := osexec.LookPath("git")
	if err != nil {
		t.Skip("git is not installed")
	}
	cmd := osexec.Command(program, append([]string{"-c", "gc.auto=0"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@example.org")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return strings.TrimSpace(string(out))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A server serves the repositories in a directory with git's own programs.
type server struct {
	url      string
	root     string
	mu       sync.Mutex
	requests []string // METHOD PATH of each
	sent     int64    // bytes of the last answer, as far as it has been given
	protocol bool     // the client's wish for a version of the protocol is passed on
	change   func(http.ResponseWriter, *http.Request) bool
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{root: t.TempDir(), protocol: true}
	path := runGit(t, s.root, "--exec-path") + "/git-http-backend"
	if _, err := os.Stat(path); err != nil {
		t.Skip("git-http-backend is not installed")
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests, s.sent = append(s.requests, r.Method+" "+r.URL.Path), 0
		change := s.change
		s.mu.Unlock()
		if change != nil && change(w, r) {
			return
		}
		env := []string{"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"}
		if s.protocol {
			env = append(env, "GIT_PROTOCOL="+r.Header.Get("Git-Protocol"))
		}
		(&cgi.Handler{Path: path, Env: env, Stderr: io.Discard}).ServeHTTP(countWriter{w, s}, r)
	}))
	t.Cleanup(web.Close)
	s.url = web.URL
	return s
}

// answer has change see what is asked from now on; it reports whether it answered.
func (s *server) answer(change func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change = change
}

// asked returns what was asked since the last time, and the bytes of the last answer.
func (s *server) asked() (requests []string, sent int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests, s.requests = s.requests, nil
	return requests, s.sent
}

// A countWriter counts what is sent before the client has it.
type countWriter struct {
	http.ResponseWriter
	s *server
}

func (w countWriter) Write(b []byte) (int, error) {
	w.s.mu.Lock()
	w.s.sent += int64(len(b))
	w.s.mu.Unlock()
	return w.ResponseWriter.Write(b)
}

// repo makes a repository of some commits, of 40 files of which each changes one.
func (s *server) repo(t testing.TB, name string, init ...string) string {
	t.Helper()
	dir := filepath.Join(s.root, name)
	runGit(t, s.root, append(append([]string{"init", "-q", "-b", "main"}, init...), dir)...)
	for i := range 40 {
		content := make([]byte, 4<<10) // does not compress
		rand.NewChaCha8([32]byte{byte(i)}).Read(content)
		write(t, dir, fmt.Sprintf("file%d", i), string(content))
	}
	for i := range 3 {
		commit(t, dir, i)
	}
	runGit(t, dir, "tag", "-a", "-m", "m", "v1")
	return dir
}

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
}

func commit(t testing.TB, dir string, i int) string {
	t.Helper()
	write(t, dir, "counter", fmt.Sprint(i))
	runGit(t, dir, "add", "-A")
	runGit(t, dir, "commit", "-q", "-m", "m")
	return runGit(t, dir, "rev-parse", "HEAD")
}

func options(t testing.TB) Options {
	t.Helper()
	return Options{Dir: t.TempDir(), Client: &http.Client{}, Stall: time.Minute}
}

// open opens and closes; it returns the commit.
func open(t testing.TB, url, name string, o Options) (string, error) {
	t.Helper()
	repo, id, err := Open(t.Context(), url, name, o)
	if err != nil {
		return "", err
	}
	defer repo.Close()
	if _, err := repo.Commit(id); err != nil {
		t.Errorf("commit %s: %v", id, err)
	}
	return id.String(), nil
}

func TestFetch(t *testing.T) {
	s := newServer(t)
	for _, how := range []string{"version 2", "version 0", "version 0, any commit", "sha256"} {
		t.Run(how, func(t *testing.T) {
			var init []string
			if how == "sha256" {
				init = []string{"--object-format=sha256"}
			}
			name := strings.NewReplacer(" ", "", ",", "").Replace(how)
			dir, url := s.repo(t, name, init...), s.url+"/"+name
			s.protocol = !strings.HasPrefix(how, "version 0")
			if strings.HasSuffix(how, "any commit") {
				runGit(t, dir, "config", "uploadpack.allowAnySHA1InWant", "true")
			}
			head, old := runGit(t, dir, "rev-parse", "HEAD"), runGit(t, dir, "rev-parse", "HEAD~2")
			for _, name := range []string{"", "HEAD", "main", "heads/main", "refs/heads/main", "v1", head, head[:7]} {
				got, err := open(t, url, name, options(t))
				if err != nil || got != head {
					t.Errorf("%q is %s, %v, want %s", name, got, err, head)
				}
			}
			for _, name := range []string{old, old[:8]} {
				got, err := open(t, url, name, options(t))
				if err != nil || got != old {
					t.Errorf("%q is %s, %v, want %s", name, got, err, old)
				}
			}
			_, err := open(t, url, "mian", options(t))
			var ref *git.RefError
			if !errors.As(err, &ref) || fmt.Sprint(ref.Known) != "[main v1]" {
				t.Errorf("unknown ref: %v", err)
			}
			if _, err := open(t, url, strings.Repeat("1", len(head)), options(t)); err == nil {
				t.Error("a commit that is not there")
			}
			if _, err := open(t, url, "abcdef1", options(t)); !errors.As(err, &ref) {
				t.Errorf("an abbreviation of nothing: %v", err)
			}
		})
	}
}

// TestFetchLittle counts what is asked and sent.
func TestFetchLittle(t *testing.T) {
	s := newServer(t)
	dir, url, o := s.repo(t, "r"), s.url+"/r", options(t)
	head, err := open(t, url, "main", o)
	must(t, err)
	_, first := s.asked()
	repo, _, err := Open(t.Context(), url, head, o)
	must(t, err)
	defer repo.Close()
	if parent, _ := git.ParseID(runGit(t, dir, "rev-parse", "HEAD~1")); repo.Objects.Has(parent) {
		t.Error("the history was fetched")
	}
	must(t, second(open(t, url, head, o)))
	if got, _ := s.asked(); len(got) > 0 {
		t.Errorf("for a commit that is there: %v", got)
	}
	must(t, second(open(t, url, "v1", o)))
	if got, _ := s.asked(); strings.Count(fmt.Sprint(got), "POST") > 2 {
		t.Errorf("for a tag of a commit that is there: %v", got)
	}
	next := commit(t, dir, 99)
	got, err := open(t, url, "main", o)
	must(t, err)
	if _, sent := s.asked(); got != next || sent > first/10 {
		t.Errorf("an update to %s, want %s, took %d bytes after %d", got, next, sent, first)
	}
	if out := runGit(t, cacheOf(t, o), "fsck", "--strict", "--no-dangling"); out != "" {
		t.Error(out)
	}
	o.Offline = true
	must(t, second(open(t, url, head, o)))
	if _, err := open(t, url, "main", o); !errors.Is(err, ErrOffline) {
		t.Errorf("offline: %v", err)
	}
}

func second(_ string, err error) error { return err }

func cacheOf(t testing.TB, o Options) string {
	t.Helper()
	dirs, err := filepath.Glob(o.Dir + "/*")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("caches %v, %v", dirs, err)
	}
	return dirs[0]
}

func TestDaemon(t *testing.T) {
	s := newServer(t)
	dir := s.repo(t, "r")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() { // as inetd does
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			cmd := osexec.Command("git", "daemon", "--inetd", "--export-all", "--base-path="+s.root)
			f, _ := c.(*net.TCPConn).File()
			cmd.Stdin, cmd.Stdout = f, f
			_ = cmd.Run()
			f.Close()
			c.Close()
		}
	}()
	url := "git://" + l.Addr().String() + "/r"
	for _, rev := range []string{"HEAD", "HEAD~2"} {
		want := runGit(t, dir, "rev-parse", rev)
		for _, name := range []string{want, want[:9]} {
			if got, err := open(t, url, name, options(t)); err != nil || got != want {
				t.Errorf("%s: %s, %v, want %s", name, got, err, want)
			}
		}
	}
	if _, err := open(t, "git://"+l.Addr().String()+"/none", "", options(t)); err == nil {
		t.Error("there is no such repository")
	}
}

func TestTwiceAtOnce(t *testing.T) {
	s := newServer(t)
	s.repo(t, "r")
	o := options(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := open(t, s.url+"/r", "main", o); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if packs, _ := filepath.Glob(cacheOf(t, o) + "/objects/pack/*.pack"); len(packs) != 1 {
		t.Errorf("packs %v", packs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := &cache{dir: cacheOf(t, o)}
	unlock, err := c.lock(ctx)
	must(t, err)
	defer unlock()
	cancel()
	if _, _, err := Open(ctx, s.url+"/r", "main", o); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for the lock: %v", err)
	}
}

func TestDamagedCache(t *testing.T) {
	s := newServer(t)
	s.repo(t, "r")
	o, url := options(t), s.url+"/r"
	want, err := open(t, url, "main", o)
	must(t, err)
	for what, pattern := range map[string]string{"index": "objects/pack/*.idx", "pack": "objects/pack/*.pack", "config": "config"} {
		files, _ := filepath.Glob(filepath.Join(cacheOf(t, o), pattern))
		if len(files) == 0 {
			t.Fatalf("no %s", pattern)
		}
		must(t, os.Chmod(files[0], 0o600))
		must(t, os.WriteFile(files[0], []byte("no longer"), 0o600))
		if got, err := open(t, url, want, o); err != nil || got != want {
			t.Errorf("after the %s was damaged: %s, %v", what, got, err)
		}
	}
	must(t, Drop(t.Context(), url, o))
	o.Offline = true
	if _, err := open(t, url, want, o); !errors.Is(err, ErrOffline) {
		t.Errorf("dropped: %v", err)
	}
}

// TestLeftovers leaves what a killed process leaves.
func TestLeftovers(t *testing.T) {
	s := newServer(t)
	dir := s.repo(t, "r")
	o, url := options(t), s.url+"/r"
	must(t, second(open(t, url, "main", o)))
	left := filepath.Join(cacheOf(t, o), "objects/pack/tmp_pack_123")
	must(t, os.WriteFile(left, []byte("PACK"), 0o600))
	orphan := filepath.Join(cacheOf(t, o), "objects/pack/pack-1234.pack") // killed between two renames
	must(t, os.WriteFile(orphan, []byte("PACK"), 0o600))
	want := commit(t, dir, 7)
	if got, err := open(t, url, "main", o); err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what a killed process left is still there")
	}
}

func pkt(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

func TestBadServers(t *testing.T) {
	s := newServer(t)
	s.repo(t, "r")
	answer := func(kind, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "info/refs") != (kind == "advertisement") {
				return false
			}
			w.Header().Set("Content-Type", "application/x-git-upload-pack-"+kind)
			io.WriteString(w, body)
			return true
		}
	}
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			return true
		}
	}
	v2 := pkt("version 2") + pkt("fetch=shallow") + "0000"
	for name, x := range map[string]struct {
		change    func(http.ResponseWriter, *http.Request) bool
		want      string
		temporary bool
	}{
		"gone":        {status(404), "404 Not Found: there is no such repository", false},
		"private":     {status(401), "401 Unauthorized: it is private or not there", false},
		"broken":      {status(503), "503 Service Unavailable", true},
		"a page":      {func(w http.ResponseWriter, _ *http.Request) bool { io.WriteString(w, "<html>"); return true }, "no git repository", false},
		"no lines":    {answer("advertisement", "<html></html>"), "no length of a line", false},
		"nothing":     {answer("advertisement", ""), "ended the connection", true},
		"short line":  {answer("advertisement", "00ffversion 2"), "ended the connection", true},
		"terminal":    {answer("advertisement", pkt("ERR \x1b[2Jno\x00 no")), `says: \x1b[2Jno\x00 no`, false},
		"bad id":      {answer("advertisement", pkt("1234 HEAD\x00")+"0000"), "no object id", false},
		"other ids":   {answer("advertisement", pkt(strings.Repeat("ab", 20)+" HEAD\x00object-format=md5")+"0000"), "which kiln does not know", false},
		"empty":       {answer("advertisement", v2), "names no commit", false},
		"bad pack":    {answer("result", pkt("packfile")+pkt("\x01PACK")+"0000"), "it is too short", false},
		"bad band":    {answer("result", pkt("packfile")+pkt("\x07PACK")+"0000"), "no band 7", false},
		"no pack":     {answer("result", "0000"), "no pack", false},
		"server says": {answer("result", pkt("packfile")+pkt("\x03out of")+"0000"), "says: out of", false},
		"cut":         {answer("result", pkt("packfile")+"00ff\x01PACK"), "ended the connection", true},
	} {
		s.answer(x.change)
		ref := "main"
		if strings.Contains(name, "pack") || name == "bad band" || name == "cut" || name == "server says" {
			ref = strings.Repeat("12", 20)
		} else if name == "empty" {
			ref = ""
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				return answer("advertisement", v2)(w, r) || answer("result", "0000")(w, r)
			})
		}
		_, err := open(t, s.url+"/r", ref, options(t))
		var passing *TemporaryError
		if err == nil || !strings.Contains(err.Error(), x.want) || errors.As(err, &passing) != x.temporary {
			t.Errorf("%s: %v (temporary: %t), want %q", name, err, errors.As(err, &passing), x.want)
		}
	}
}

// TestStalledDaemon has a server of git:// that never answers.
func TestStalledDaemon(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	o := options(t)
	o.Stall = 50 * time.Millisecond
	var passing *TemporaryError
	if _, err := open(t, "git://"+l.Addr().String()+"/r", "", o); !errors.As(err, &passing) || !retry.Later(err) {
		t.Errorf("a server that says nothing: %v", err)
	}
}

func TestStalledServer(t *testing.T) {
	s := newServer(t)
	s.repo(t, "r")
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			io.WriteString(w, pkt("packfile"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}
		return false
	})
	o := options(t)
	o.Stall = 50 * time.Millisecond
	_, err := open(t, s.url+"/r", strings.Repeat("12", 20), o)
	var passing *TemporaryError
	if !errors.As(err, &passing) || !retry.Later(err) || !strings.Contains(err.Error(), "nothing came for") {
		t.Errorf("a server that stalls: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-r.Context().Done()
		return true
	})
	if _, _, err := Open(ctx, s.url+"/r", "main", options(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	s := newServer(t)
	s.repo(t, "r")
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if name, password, _ := r.BasicAuth(); name != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", "Basic realm=x")
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("NETRC", "")
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(home, "gitconfig"))
	if _, err := open(t, s.url+"/r", "", options(t)); err == nil || !strings.Contains(err.Error(), "knows") && !strings.Contains(err.Error(), "know a password") {
		t.Errorf("without credentials: %v", err)
	}
	must(t, second(open(t, strings.Replace(s.url, "//", "//me:secret@", 1)+"/r", "", options(t))))
	_, err := open(t, strings.Replace(s.url, "//", "//me:wrong@", 1)+"/r", "", options(t))
	if err == nil || strings.Contains(err.Error(), "wrong") || !strings.Contains(err.Error(), "the URL") {
		t.Errorf("with a wrong password: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(home, ".netrc"), []byte("machine example.org login a password b\nmachine 127.0.0.1\n  login me\n  password secret\n"), 0o600))
	must(t, second(open(t, s.url+"/r", "", options(t))))
	must(t, os.Remove(filepath.Join(home, ".netrc")))
	must(t, os.WriteFile(filepath.Join(home, "gitconfig"), []byte("[credential]\n\thelper = \"!f() { echo username=me; echo password=secret; }; f\"\n"), 0o600))
	must(t, second(open(t, s.url+"/r", "", options(t))))
}

// TestRedirects follows them with the first request, and takes no password along.
func TestRedirects(t *testing.T) {
	s := newServer(t)
	s.repo(t, "r")
	var told string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.url+"/r"+strings.TrimPrefix(r.URL.Path, "/old")+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
	}))
	defer elsewhere.Close()
	s.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		told += r.Header.Get("Authorization")
		return false
	})
	url := strings.Replace(strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1), "//", "//me:secret@", 1)
	must(t, second(open(t, url+"/old", "v1", options(t))))
	if told != "" {
		t.Errorf("another host was told %s", told)
	}
}
