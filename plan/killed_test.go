package plan

import (
	"context"
	"io"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// killedEnv makes the test binary a process that resolves and locks: its value is
// the world's directory and the url, with a space between.
const killedEnv = "KILN_TEST_RESOLVE"

func TestMain(m *testing.M) {
	if job := os.Getenv(killedEnv); job != "" {
		dir, url, _ := strings.Cut(job, " ")
		if err := resolveOnce(dir, url); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func resolveOnce(dir, url string) error {
	l, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	if err != nil {
		return err
	}
	defer l.Close()
	source := formula.Source{Kind: formula.SourceURL, URL: url}
	if strings.HasSuffix(url, ".git") {
		source = formula.Source{Kind: formula.SourceGit, Git: url}
	}
	p, diags := Resolve(context.Background(), &formula.Formula{Dir: filepath.Join(dir, "project"), Wares: []*formula.Ware{
		{Addr: "ware.a", Source: source},
	}}, ResolveOptions{Warehouse: l, CacheDir: filepath.Join(dir, "cache")})
	if diags.HasErrors() {
		return diags
	}
	if _, diags := p.SaveLock(true); diags.HasErrors() {
		return diags
	}
	return nil
}

// TestKilledWhileFetching: kill -9 in the middle of a download leaves no lock file
// and nothing that the next kiln trips over or leaves lying.
func TestKilledWhileFetching(t *testing.T) {
	var stall atomic.Bool
	stall.Store(true)
	half := make(chan struct{}, 1)
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat("x", 1<<20))
		if stall.Load() {
			w.(http.Flusher).Flush()
			half <- struct{}{}
			<-r.Context().Done()
		}
	})
	pr := newProject(t, nil)
	start := func() *osexec.Cmd {
		cmd := osexec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killedEnv+"="+pr.world.dir+" "+base)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	cmd := start()
	<-half
	downloads := filepath.Join(pr.world.dir, "cache", "download", "*")
	for { // what the server has sent is not there at once
		if left, _ := filepath.Glob(downloads); len(left) == 2 { // the bytes, and where they are from
			break
		}
		time.Sleep(time.Millisecond)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := os.Stat(filepath.Join(pr.dir, LockName)); err == nil {
		t.Error("a lock file was written")
	}
	stall.Store(false)
	if err := start().Wait(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(downloads); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	if !strings.Contains(pr.lockText(), hexSum(strings.Repeat("x", 1<<20))) {
		t.Errorf("locked %s", pr.lockText())
	}
}

// TestProcessesLockTogether: as TestResolveTogether, by processes.
func TestProcessesLockTogether(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "text") })
	pr := newProject(t, nil)
	var all []*osexec.Cmd
	for range 6 {
		cmd := osexec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killedEnv+"="+pr.world.dir+" "+base)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(pr.lockText(), hexSum("text")) {
		t.Errorf("locked %s", pr.lockText())
	}
}
