package warehousetest

import (
	"fmt"
	"os"
	osexec "os/exec"
	"os/user"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// Nginx serves the directory dir over http until the test ends. With write it takes PUT and
// MKCOL.
func Nginx(t testing.TB, dir string, write bool) *testenv.Server {
	t.Helper()
	bin := "/usr/sbin/nginx" // where Debian has it, and which is not in everybody's PATH
	if _, err := os.Stat(bin); err != nil {
		bin = testenv.Tool(t, "nginx", "apt-get install nginx-light")
	}
	state := t.TempDir()
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
	s, err := testenv.Serve("/", func(addr string) *osexec.Cmd {
		must(t, os.WriteFile(conf, fmt.Appendf(nil, `
daemon off; %s worker_processes 1; pid %[2]s/pid; error_log %[2]s/error.log;
events {}
http {
	access_log off; sendfile on;
	client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
	server { listen %s; root %s; %s }
}
`, as, state, addr, dir, dav), 0o600))
		return osexec.Command(bin, "-p", state, "-e", filepath.Join(state, "error.log"), "-c", conf)
	})
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(state, "error.log"))
		t.Fatalf("%v\n%s", err, log)
	}
	t.Cleanup(s.Kill)
	return s
}
