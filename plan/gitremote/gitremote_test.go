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
	sent     int64    // bytes of the last pack request's answer
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
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
		change := s.change
		s.mu.Unlock()
		if change != nil && change(w, r) {
			return
		}
		env := []string{"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"}
		if s.protocol {
			env = append(env, "GIT_PROTOCOL="+r.Header.Get("Git-Protocol"))
		}
		count := &countWriter{ResponseWriter: w}
		(&cgi.Handler{Path: path, Env: env, Stderr: io.Discard}).ServeHTTP(count, r)
		s.mu.Lock()
		s.sent = count.n
		s.mu.Unlock()
	}))
	t.Cleanup(web.Close)
	s.url = web.URL
	return s
}

type countWriter struct {
	http.ResponseWriter
	n int64
}

func (w *countWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.n += int64(n)
	return n, err
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
	first := s.sent
	repo, _, err := Open(t.Context(), url, head, o)
	must(t, err)
	defer repo.Close()
	if parent, _ := git.ParseID(runGit(t, dir, "rev-parse", "HEAD~1")); repo.Objects.Has(parent) {
		t.Error("the history was fetched")
	}
	s.requests = nil
	must(t, second(open(t, url, head, o)))
	if len(s.requests) > 0 {
		t.Errorf("for a commit that is there: %v", s.requests)
	}
	must(t, second(open(t, url, "v1", o)))
	if got := fmt.Sprint(s.requests); strings.Count(got, "POST") > 2 {
		t.Errorf("for a tag of a commit that is there: %v", got)
	}
	next := commit(t, dir, 99)
	got, err := open(t, url, "main", o)
	must(t, err)
	if got != next || s.sent > first/10 {
		t.Errorf("an update to %s, want %s, took %d bytes after %d", got, next, s.sent, first)
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
