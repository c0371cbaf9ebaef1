package image

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/oci"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
	"github.com/kilnbuild/kiln/warehouse"
)

// tool runs a program, or skips the test where it is not installed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := osexec.LookPath(name); err != nil {
		t.Skip(name + " is not installed")
	}
	cmd := osexec.CommandContext(t.Context(), name, args...)
	// Who has no home has no policy of his own.
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_RUNTIME_DIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, out)
	}
	return string(out)
}

// skopeo copies an image; its policy is not this machine's.
func skopeo(t *testing.T, args ...string) string {
	return tool(t, "skopeo", append([]string{"--insecure-policy"}, args...)...)
}

// TestUmoci has umoci unpack a layout.
func TestUmoci(t *testing.T) {
	l := openLocal(t)
	img := makeImage(t, l, sample(t, l))
	d := t.TempDir()
	t.Cleanup(func() { must(t, warehouse.RemoveTree(d)) })
	must(t, img.WriteLayout(context.Background(), d+"/layout", "v1"))
	tool(t, "umoci", "unpack", "--rootless", "--image", d+"/layout:v1", d+"/bundle")
	for path, want := range map[string]string{
		"etc/os-release": "etc/os-release", "opt/my/app/bin/app": "bin/app", "usr/local/new\nline": "new\nline", "usr/bin/start": "#!/bin/sh\n",
	} {
		got, err := os.ReadFile(filepath.Join(d, "bundle/rootfs", path))
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
	if to, err := os.Readlink(d + "/bundle/rootfs/bin"); to != "usr/bin" {
		t.Errorf("bin leads to %q, %v", to, err)
	}
	// It changes the layout as it likes, and kiln adds to it again.
	tool(t, "umoci", "config", "--image", d+"/layout:v1", "--tag", "v2", "--config.user", "7")
	must(t, img.WriteLayout(context.Background(), d+"/layout", "v3"))
	if tags := tool(t, "umoci", "ls", "--layout", d+"/layout"); tags != "v1\nv2\nv3\n" {
		t.Errorf("tags %q", tags)
	}
}

// TestSkopeo has skopeo read what is written, check it and copy it on.
func TestSkopeo(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	img := makeImage(t, l, sample(t, l))
	d := t.TempDir()
	must(t, img.WriteLayout(ctx, d+"/layout", "v1"))
	checkInspect(t, img, skopeo(t, "inspect", "oci:"+d+"/layout:v1"), skopeo(t, "inspect", "--config", "oci:"+d+"/layout:v1"))
	skopeo(t, "copy", "-q", "oci:"+d+"/layout:v1", "dir:"+d+"/dir")
	f, err := os.Create(d + "/docker.tar")
	must(t, err)
	must(t, img.WriteDockerArchive(ctx, f, "app:v1"))
	must(t, f.Close())
	config := skopeo(t, "inspect", "--config", "docker-archive:"+d+"/docker.tar:app:v1")
	if !strings.Contains(config, `"/usr/bin/start"`) {
		t.Errorf("config %s", config)
	}
	skopeo(t, "copy", "-q", "docker-archive:"+d+"/docker.tar", "oci:"+d+"/back:v1")
}

func checkInspect(t *testing.T, img *Image, inspected, config string) {
	t.Helper()
	var got struct{ Digest string }
	must(t, json.Unmarshal([]byte(inspected), &got))
	if got.Digest != img.Digest.String() {
		t.Errorf("skopeo says %s, kiln %s", got.Digest, img.Digest)
	}
	var c v1.Image
	must(t, json.Unmarshal([]byte(config), &c))
	if strings.Join(c.Config.Entrypoint, " ") != "/usr/bin/start" || c.Config.User != "1000:1000" || c.Config.Labels["a"] != "<2>" || c.Created == nil || !c.Created.Equal(created) {
		t.Errorf("config %s", config)
	}
}

// TestPush pushes to a real registry, and has skopeo pull what it then has.
func TestPush(t *testing.T) {
	testenv.Tool(t, "docker-registry", "apt-get install docker-registry")
	ctx := context.Background()
	l := openLocal(t)
	img := makeImage(t, l, sample(t, l))
	for name, auth := range map[string]bool{"open": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			s, err := ocitest.Start(t.TempDir(), auth)
			must(t, err)
			defer s.Kill()
			addr := s.Addr
			home := t.TempDir()
			t.Setenv("DOCKER_CONFIG", home)
			t.Setenv("HOME", home)
			t.Setenv("REGISTRY_AUTH_FILE", "")
			args := []string{}
			if auth {
				err := img.Push(ctx, addr+"/my/app:v1", nil)
				if err == nil || !strings.Contains(err.Error(), "log in with docker login "+addr) {
					t.Fatalf("got %v", err)
				}
				must(t, os.WriteFile(home+"/config.json", []byte(`{"auths":{"`+addr+`":{"auth":"`+base64.StdEncoding.EncodeToString([]byte(ocitest.User+":"+ocitest.Password))+`"}}}`), 0o600))
				args = append(args, "--creds", ocitest.User+":"+ocitest.Password)
			}
			var sent int64
			must(t, img.Push(ctx, addr+"/my/app:v1", func(n int64) { sent = max(sent, n) }))
			if sent == 0 {
				t.Error("no progress was told")
			}
			must(t, img.Push(ctx, addr+"/my/app:v2", nil))
			ref := "docker://" + addr + "/my/app:v2"
			inspect := append([]string{"inspect", "--tls-verify=false"}, args...)
			checkInspect(t, img, skopeo(t, append(inspect, ref)...), skopeo(t, append(inspect, "--config", ref)...))
			if auth {
				return
			}
			out := filepath.Join(t.TempDir(), "pulled")
			skopeo(t, "copy", "-q", "--src-tls-verify=false", ref, "oci:"+out+":v2")
			checkPulled(t, l, img, out)
		})
	}
}

// TestPushBesideAnother: a registry that loses sight of a blob for a moment, which another
// client pushes too, is pushed to again.
func TestPushBesideAnother(t *testing.T) {
	testenv.Tool(t, "docker-registry", "apt-get install docker-registry")
	l := openLocal(t)
	img := makeImage(t, l, sample(t, l))
	s, err := ocitest.Start(t.TempDir(), false)
	must(t, err)
	defer s.Kill()
	to := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: s.Addr})
		r.Out.Host = r.In.Host // which its answers name
	}}
	for answer, want := range map[string]int32{"MANIFEST_BLOB_UNKNOWN": 2, "MANIFEST_INVALID": 1} {
		var asked atomic.Int32
		before := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") && asked.Add(1) == 1 {
				w.WriteHeader(http.StatusBadRequest)
				io.WriteString(w, `{"errors":[{"code":"DIGEST_INVALID"},{"code":"`+answer+`"}]}`)
				return
			}
			to.ServeHTTP(w, r)
		}))
		defer before.Close()
		err := img.Push(t.Context(), strings.TrimPrefix(before.URL, "http://")+"/my/app:"+answer, nil)
		if (err == nil) != (want > 1) || asked.Load() != want {
			t.Errorf("%s: %v after %d requests", answer, err, asked.Load())
		}
	}
}

// checkPulled unpacks a layout to the ware that the layers make.
func checkPulled(t *testing.T, l *warehouse.Local, img *Image, out string) {
	layout, err := oci.OpenLayout(out)
	must(t, err)
	d, err := layout.Resolve("v2", "linux/amd64")
	must(t, err)
	if d.Digest != img.Digest {
		t.Errorf("pulled %s, pushed %s", d.Digest, img.Digest)
	}
	read, err := oci.Load(context.Background(), layout, d, "linux/amd64")
	must(t, err)
	rec, err := read.Unpack(context.Background(), l, pack.BuildOptions{Name: out})
	must(t, err)
	named, err := l.Get(img.WareID())
	must(t, err)
	if named.Tree != rec.Tree || strings.Join(named.Image.Entrypoint, " ") != "/usr/bin/start" {
		t.Errorf("unpacked %s, and %s is %s with %v", rec.Tree, img.WareID(), named.Tree, named.Image)
	}
}
