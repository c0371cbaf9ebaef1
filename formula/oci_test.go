package formula

import (
	"strings"
	"testing"
)

func TestParseImageRef(t *testing.T) {
	sum := "sha256:" + strings.Repeat("0a", 32)
	for text, want := range map[string]ImageRef{
		"gcc":                              {Registry: "docker.io", Repository: "library/gcc", Tag: "latest"},
		"gcc:14":                           {Registry: "docker.io", Repository: "library/gcc", Tag: "14"},
		"docker.io/gcc:14":                 {Registry: "docker.io", Repository: "library/gcc", Tag: "14"},
		"index.docker.io/library/gcc":      {Registry: "docker.io", Repository: "library/gcc", Tag: "latest"},
		"user/app":                         {Registry: "docker.io", Repository: "user/app", Tag: "latest"},
		"localhost/app":                    {Registry: "localhost", Repository: "app", Tag: "latest"},
		"localhost:5000/a/b:c@" + sum:      {Registry: "localhost:5000", Repository: "a/b", Tag: "c", Digest: sum},
		"[::1]:5000/x@" + sum:              {Registry: "[::1]:5000", Repository: "x", Digest: sum},
		"ghcr.io/a-b/c__d.e:v1.2_x":        {Registry: "ghcr.io", Repository: "a-b/c__d.e", Tag: "v1.2_x"},
		"oci-layout:dir":                   {Layout: "dir"},
		"oci-layout:/a/b:v1":               {Layout: "/a/b", Name: "v1"},
		"oci-layout:~/a@" + sum:            {Layout: "~/a", Name: sum},
		"docker-archive:a.tar":             {Archive: "a.tar"},
		"docker-archive:../a.tar:gcc:14":   {Archive: "../a.tar", Name: "gcc:14"},
		"docker-archive:a.tar:x/y:z":       {Archive: "a.tar", Name: "x/y:z"},
		"oci-layout:mail@example.org/x:v1": {Layout: "mail@example.org/x", Name: "v1"},
	} {
		if got, err := ParseImageRef(text); got != want || err != nil {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		":14", "oci:dir:tag", "oci:dir", "a//b", "/a", "a/", "A/b", "a:b:c", "a b", "a@sha256:", "a@md5:00", "a@" + sum + "@" + sum,
		"https://a/b", "host:port/x", "x.y:123456/z", strings.Repeat("a", 256), "a\n", "../a", "[::1/x", "x:" + strings.Repeat("t", 129),
	} {
		if got, err := ParseImageRef(text); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}
