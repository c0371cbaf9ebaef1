// Package config reads config.hcl, what a person says once for all formulas: which
// warehouses there are beyond this machine, whom to believe, how runners are reached.
// It uses nothing of what it reads; package main does.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/remote"
)

// A Config is what config.hcl says. Its zero value is that of an empty file.
type Config struct {
	Warehouses []Warehouse // in the order in which they are asked
	Mirrors    []Mirror    // in the order in which they are tried
	Trust      []string    // public keys whose memos count, "ed25519:…"
	Key        string      // absolute path of the secret key that signs memos; "": the default place
	GC         GC
	Runner     string // for steps that name none; "": container
	LogLimit   string // of each log of a run, as written, such as "1GiB"; "": not said
	Runners    []Runner

	Path    string               // of the file; "" if there is none
	Sources map[string]*hcl.File // for diagnostics
}

// A Warehouse is one beyond this machine. Secrets are named by where they are: the
// environment, or a file.
type Warehouse struct {
	Name     string
	URL      string
	Read     bool // wares are fetched from it
	Memos    bool // steps that it remembers are not run
	Push     remote.Push
	Token    Secret
	Username string
	Password Secret
	CAFile   string // PEM; whom to believe instead of the system's authorities
	CertFile string // PEM; with KeyFile, who this client is
	KeyFile  string
	Profile  string // of S3's shared credentials
	Insecure bool   // plain connections to other machines, and certificates of anybody
	Range    hcl.Range
}

// What is read of files, which might be devices that never end.
const (
	maxConfig = 8 << 20
	maxSecret = 64 << 10
)

func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d KiB", path, limit>>10)
	}
	return data, err
}

// A Secret is read when it is needed, and appears in no message.
type Secret struct{ Env, File string }

// Get returns the secret; "" if none is named.
func (s Secret) Get() (string, error) {
	switch {
	case s.Env != "":
		value := os.Getenv(s.Env)
		if value == "" {
			return "", fmt.Errorf("the environment variable %s is empty", s.Env)
		}
		return value, nil
	case s.File != "":
		data, err := readSmall(s.File, maxSecret)
		secret := strings.TrimSpace(string(data))
		if err == nil && secret == "" {
			err = fmt.Errorf("%s is empty", s.File)
		}
		return secret, err
	}
	return "", nil
}

// A Mirror says where else something is: exactly one of Ware, Module and Prefix is set.
type Mirror struct {
	Ware   string   // a ware id
	Module string   // of a catalog; "x/..." stands for x and all below it
	Prefix string   // of a url source; what follows it is added to each of URLs
	URLs   []string // warehouse addresses; with Prefix URLs
	Range  hcl.Range
}

// GC holds the defaults of kiln gc.
type GC struct {
	KeepDays int    // 0: not said
	MaxSize  string // as written, such as "50GiB"; "": not said
}

// A Runner configures one kind of runner; its body is the runner's to decode.
type Runner struct {
	Name   string
	AtOnce int // steps on it at a time; 0: not said
	Body   hcl.Body
	Range  hcl.Range
}

// Load reads the configuration at path. A file that is not there is an empty one.
func Load(path string) (*Config, hcl.Diagnostics) {
	c := &Config{Sources: map[string]*hcl.File{}}
	src, err := readSmall(path, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Cannot read the configuration", Detail: err.Error() + "."}}
	}
	c.Path = path
	file, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
	if file != nil {
		c.Sources[path] = file
	}
	if diags.HasErrors() {
		return c, diags
	}
	d := &decoder{dir: filepath.Dir(path)}
	d.secrets(file.Body)
	if !d.diags.HasErrors() {
		d.config(c, file.Body)
	}
	return c, d.diags
}

// Find returns the warehouse of a name.
func (c *Config) Find(name string) (Warehouse, bool) {
	for _, w := range c.Warehouses {
		if w.Name == name {
			return w, true
		}
	}
	return Warehouse{}, false
}

// OfWare returns the addresses that mirrors name for a ware.
func (c *Config) OfWare(id warehouse.WareID) (urls []string) {
	for _, m := range c.Mirrors {
		if m.Ware == id.String() {
			urls = append(urls, m.URLs...)
		}
	}
	return urls
}

// OfModule returns the addresses that mirrors name for a catalog's module.
func (c *Config) OfModule(module string) (urls []string) {
	for _, m := range c.Mirrors {
		below, all := strings.CutSuffix(m.Module, "/...")
		if m.Module != "" && (m.Module == module || all && (module == below || strings.HasPrefix(module, below+"/"))) {
			urls = append(urls, m.URLs...)
		}
	}
	return urls
}

// OfURL returns what mirrors make of a url source, to be tried before it.
func (c *Config) OfURL(url string) (urls []string) {
	for _, m := range c.Mirrors {
		rest, ok := strings.CutPrefix(url, m.Prefix)
		if m.Prefix == "" || !ok {
			continue
		}
		for _, base := range m.URLs {
			urls = append(urls, base+rest)
		}
	}
	return urls
}

// Keep returns how long kiln gc keeps what is not in use; 0 if that is not said.
func (g GC) Keep() time.Duration { return time.Duration(g.KeepDays) * 24 * time.Hour }
