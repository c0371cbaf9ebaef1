package warehousetest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// Nginx serves the directory dir over http until the test ends, and returns its URL.
// With write it takes PUT and MKCOL.
func Nginx(t testing.TB, dir string, write bool) string {
	t.Helper()
	bin := "/usr/sbin/nginx" // where Debian has it, and which is not in everybody's PATH
	if _, err := os.Stat(bin); err != nil {
		bin = testenv.Tool(t, "nginx", "apt-get install nginx-light")
	}
	state := t.TempDir()
	address := free(t)
	me, err := user.Current()
	must(t, err)
	as, dav := "", ""
	if me.Uid == "0" {
		as = "user root;"
	}
	if write {
		dav = "dav_methods PUT MKCOL DELETE; create_full_put_path on; dav_access user:rw group:r all:r; client_max_body_size 0;"
	}
	conf := filepath.Join(state, "nginx.conf")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, `
daemon off; %s worker_processes 1; pid %[2]s/pid; error_log %[2]s/error.log;
events {}
http {
	access_log off; sendfile on;
	client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
	server { listen %s; root %s; %s }
}
`, as, state, address, dir, dav), 0o600))
	cmd := osexec.Command(bin, "-p", state, "-e", filepath.Join(state, "error.log"), "-c", conf)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
	})
	url := "http://" + address + "/"
	for {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
			return url
		}
		select {
		case err := <-ended:
			ended <- err
			log, _ := os.ReadFile(filepath.Join(state, "error.log"))
			t.Fatalf("nginx: %v\n%s%s", err, out.String(), log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// free returns an address of this machine at which nobody listens.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}
