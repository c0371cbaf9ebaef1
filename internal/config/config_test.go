package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/remote"
)

func load(t *testing.T, text string) (*Config, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, diags := Load(path)
	return c, diags.Error()
}

func TestLoad(t *testing.T) {
	c, problem := load(t, `
trust = ["ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
key   = "keys/mine"

warehouse "team" {
  url       = "reapi://cache.example:9092"
  push      = "all"
  token_env = "TEAM_TOKEN"
  ca_file   = "ca.pem"
}

warehouse "old" {
  url   = "ca+https://example.org/wares"
  memos = false
}

mirror {
  prefix = "https://ftp.gnu.org/gnu/"
  urls   = ["https://a.example/gnu/", "https://b.example/"]
}

mirror {
  module = "warpsys.org/..."
  urls   = ["ca+https://warpsys.example"]
}

gc {
  keep_days = 30
  max_size  = "50GiB"
}

defaults {
  runner    = "docker"
  log_limit = "64MiB"
}

runner "kubernetes" {
  namespace = "builds"
  at_once   = 200
}
`)
	if problem != "no diagnostics" {
		t.Fatal(problem)
	}
	if len(c.Warehouses) != 2 || c.Warehouses[0].Push != remote.PushAll || !c.Warehouses[0].Read || c.Warehouses[1].Memos ||
		c.Warehouses[1].Push != remote.PushNever || c.Warehouses[0].CAFile != filepath.Join(filepath.Dir(c.Path), "ca.pem") {
		t.Errorf("warehouses: %+v", c.Warehouses)
	}
	if got := c.OfURL("https://ftp.gnu.org/gnu/hello.tar"); !slices.Equal(got, []string{"https://a.example/gnu/hello.tar", "https://b.example/hello.tar"}) {
		t.Errorf("mirrors of a URL: %v", got)
	}
	if len(c.OfModule("warpsys.org/zlib")) != 1 || len(c.OfModule("warpsys.organic/zlib")) != 0 || len(c.OfWare(warehouse.WareID{Packtype: "tar", Hash: "x"})) != 0 {
		t.Error("mirrors of modules or wares")
	}
	if c.GC.KeepDays != 30 || c.Runner != "docker" || c.LogLimit != "64MiB" || len(c.Runners) != 1 || c.Runners[0].AtOnce != 200 {
		t.Errorf("the rest: %+v %q %v", c.GC, c.Runner, c.Runners)
	}
	t.Setenv("TEAM_TOKEN", "s3cret")
	if token, err := c.Warehouses[0].Token.Get(); err != nil || token != "s3cret" {
		t.Errorf("token: %q, %v", token, err)
	}
}

func TestLoadProblems(t *testing.T) {
	for text, want := range map[string]string{
		`warehouse "a" { url = "https://u:pw@x/" }`:                                            "password_env",
		`warehouse "a" { url = "u:pw@x:9092" }`:                                                "password_env",
		`warehouse "a" { url = "https://u:pw@x y" }`:                                           "password_env",
		`warehouse "a" { url = "s3://b?endpoint=https://u:pw@x" }`:                             "password_env",
		`warehouse "a" { url = "cache.example:9092" }`:                                         "is no URL",
		`warehouse "a" { url = "/srv" }`:                                                       "is no URL",
		`warehouse "a" { url = "file:///x", push = "some" }`:                                   "single-argument",
		"warehouse \"a\" {\n url = \"file:///x\"\n push = \"some\"\n}":                         "never, outputs or all",
		"warehouse \"a\" {\n url = \"file:///x\"\n}\nwarehouse \"a\" {\n url=\"file:///y\"\n}": "already",
		"gc {\n keep_days = -1\n}":                                                             "1 or more",
		"gc {\n keep_days = 0\n}":                                                              "1 or more",
		"warehouse \"a\" {\n url = \"file:///x\"\n token_env = \"T\"\n token_file = \"f\"\n}":  "both the environment and a file",
		"warehouse \"a\" {\n url = \"file:///x\"\n cert_file = \"c\"\n}":                       "both cert_file and key_file",
		"runner \"docker\" {\n at_once = 0\n}":                                                 "1 or more",
		"runner \"docker\" {}\nrunner \"docker\" {}":                                           "already",
		`mirror { urls = [] }`:                                                                 "exactly one",
		"mirror {\n ware = \"x\"\n urls = []\n}":                                               "packtype:hash",
		"mirror {\n prefix = \"https://a/\"\n urls = []\n}":                                    "no urls",
		"mirror {\n prefix = \"x\"\n urls = [\"https://a/\"]\n}":                               "No URL begins",
		"mirror {\n prefix = \"https://a/\"\n urls = [\"/srv/mirror/\"]\n}":                    "is no URL",
		"mirror {\n prefix = \"https://a/\"\n urls = [\"ca+https://b/\"]\n}":                   "Nothing can be fetched",
		"mirror {\n module = \"a\"\n urls = [\"ftp://b/\"]\n}":                                 "begins with ftp://",
		`warehouse "a" { url = "ftp://x/" }`:                                                   "begin with ftp://",
		`warehouse "a" { url = "ca+s3://" }`:                                                   "no diagnostics",
		`warehouse "a b" { url = "file:///x" }`:                                                "Invalid name",
		`warehouse "a" { url = "https://ghp_0123456789abcdef0123@x/" }`:                        "token_env",
		"warehouse \"a\" {\n url = \"file:///x\"\n password = \"sesame\"\n}":                   "password_env",
		`trust = ["x"]`: "config.hcl:1",
		`trust = ["kiln-secret-key:ed25519:AAAA"]`: "secret key",
		`colour = "blue"`:                          "Unsupported argument",
		`warehouse {}`:                             "Missing name",
	} {
		if _, problem := load(t, text); !strings.Contains(problem, want) || strings.Contains(problem, "sesame") {
			t.Errorf("%s: %s, want %s", text, problem, want)
		}
	}
	if c, diags := Load(filepath.Join(t.TempDir(), "none")); diags.HasErrors() || c.Path != "" {
		t.Errorf("no file: %v", diags)
	}
}

// TestEndless names files that have no end.
func TestEndless(t *testing.T) {
	if _, diags := Load("/dev/zero"); !strings.Contains(diags.Error(), "larger than") {
		t.Errorf("configuration: %v", diags)
	}
	for file, want := range map[string]string{"/dev/zero": "larger than", "/dev/null": "is empty"} {
		if _, err := (Secret{File: file}).Get(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("secret in %s: %v", file, err)
		}
	}
}
