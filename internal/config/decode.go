package config

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/remote"
	"github.com/kilnbuild/kiln/warehouse/seal"
)

// decoder collects what is wrong with a file.
type decoder struct {
	dir   string // relative paths start here
	diags hcl.Diagnostics
}

// What a person can call a warehouse, and what the URLs of warehouses and of what
// mirrors have instead of a url, a repository or an image can begin with.
var (
	warehouseName    = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	warehouseSchemes = []string{"file", "ca+file", "kiln", "http", "ca+http", "https", "ca+https", "s3", "ca+s3", "oci", "oci+http", "reapi", "grpc", "grpcs"}
	prefixSchemes    = []string{"file", "http", "https", "oci", "ssh", "git"}
)

// These are the file's blocks as they are written.
type (
	fileBlock struct {
		Trust      []string         `hcl:"trust,optional"`
		Key        string           `hcl:"key,optional"`
		Warehouses []warehouseBlock `hcl:"warehouse,block"`
		Mirrors    []mirrorBlock    `hcl:"mirror,block"`
		GC         *gcBlock         `hcl:"gc,block"`
		Defaults   *defaultsBlock   `hcl:"defaults,block"`
		Runners    []runnerBlock    `hcl:"runner,block"`
	}
	warehouseBlock struct {
		Name         string    `hcl:"name,label"`
		URL          string    `hcl:"url"`
		Read         *bool     `hcl:"read,optional"`
		Memos        *bool     `hcl:"memos,optional"`
		Push         string    `hcl:"push,optional"`
		TokenEnv     string    `hcl:"token_env,optional"`
		TokenFile    string    `hcl:"token_file,optional"`
		Username     string    `hcl:"username,optional"`
		PasswordEnv  string    `hcl:"password_env,optional"`
		PasswordFile string    `hcl:"password_file,optional"`
		CAFile       string    `hcl:"ca_file,optional"`
		CertFile     string    `hcl:"cert_file,optional"`
		KeyFile      string    `hcl:"key_file,optional"`
		Profile      string    `hcl:"profile,optional"`
		Insecure     bool      `hcl:"insecure,optional"`
		Range        hcl.Range `hcl:",def_range"`
	}
	mirrorBlock struct {
		Ware   string    `hcl:"ware,optional"`
		Module string    `hcl:"module,optional"`
		Prefix string    `hcl:"prefix,optional"`
		URLs   []string  `hcl:"urls"`
		Range  hcl.Range `hcl:",def_range"`
	}
	gcBlock struct {
		KeepDays *int      `hcl:"keep_days,optional"`
		MaxSize  string    `hcl:"max_size,optional"`
		Range    hcl.Range `hcl:",def_range"`
	}
	defaultsBlock struct {
		Runner   string `hcl:"runner,optional"`
		LogLimit string `hcl:"log_limit,optional"`
	}
	runnerBlock struct {
		Name   string    `hcl:"name,label"`
		AtOnce *int      `hcl:"at_once,optional"`
		Body   hcl.Body  `hcl:",remain"`
		Range  hcl.Range `hcl:",def_range"`
	}
)

func (d *decoder) config(c *Config, body hcl.Body) {
	var f fileBlock
	if d.diags = append(d.diags, gohcl.DecodeBody(body, nil, &f)...); d.diags.HasErrors() {
		return
	}
	c.Trust, c.Key = f.Trust, d.path(f.Key)
	for _, key := range f.Trust {
		if _, err := seal.ParseKey(key); err != nil {
			at := body.(*hclsyntax.Body).Attributes["trust"].SrcRange
			if strings.HasPrefix(key, "kiln-secret-key") {
				at = hcl.Range{} // which would show it
			}
			d.problem(at, "Invalid key", "In trust, %v.", err)
		}
	}
	seen := map[string]bool{}
	for _, b := range f.Warehouses {
		w := d.warehouse(b)
		if seen[b.Name] {
			d.problem(b.Range, "Warehouse declared twice", "There is a warehouse %q already.", b.Name)
		}
		seen[b.Name] = true
		c.Warehouses = append(c.Warehouses, w)
	}
	for _, b := range f.Mirrors {
		c.Mirrors = append(c.Mirrors, d.mirror(b))
	}
	if f.GC != nil {
		c.GC.MaxSize = f.GC.MaxSize
		if days := f.GC.KeepDays; days != nil {
			if c.GC.KeepDays = *days; *days < 1 {
				d.problem(f.GC.Range, "Invalid age", "gc has keep_days = %d, want 1 or more; kiln gc --keep-days 0 removes all once.", *days)
			}
		}
	}
	if f.Defaults != nil {
		c.Runner, c.LogLimit = f.Defaults.Runner, f.Defaults.LogLimit
	}
	for _, b := range f.Runners {
		r := Runner{Name: b.Name, Body: b.Body, Range: b.Range}
		if b.AtOnce != nil {
			if r.AtOnce = *b.AtOnce; r.AtOnce < 1 {
				d.problem(b.Range, "Invalid number of steps", "Runner %q has at_once = %d, want 1 or more.", b.Name, r.AtOnce)
			}
		}
		if slices.ContainsFunc(c.Runners, func(other Runner) bool { return other.Name == b.Name }) {
			d.problem(b.Range, "Runner declared twice", "There is a block for the runner %q already.", b.Name)
		}
		c.Runners = append(c.Runners, r)
	}
}

func (d *decoder) warehouse(b warehouseBlock) Warehouse {
	w := Warehouse{
		Name: b.Name, URL: b.URL, Read: b.Read == nil || *b.Read, Memos: b.Memos == nil || *b.Memos, Push: remote.Push(b.Push),
		Token: Secret{b.TokenEnv, d.path(b.TokenFile)}, Username: b.Username, Password: Secret{b.PasswordEnv, d.path(b.PasswordFile)},
		CAFile: d.path(b.CAFile), CertFile: d.path(b.CertFile), KeyFile: d.path(b.KeyFile),
		Profile: b.Profile, Insecure: b.Insecure, Range: b.Range,
	}
	switch w.Push {
	case "":
		w.Push = remote.PushNever
	case remote.PushNever, remote.PushOutputs, remote.PushAll:
	default:
		d.problem(b.Range, "Invalid push policy", "Warehouse %q has push = %q, want never, outputs or all.", b.Name, b.Push)
	}
	if !warehouseName.MatchString(b.Name) {
		d.problem(b.Range, "Invalid name", "A warehouse cannot be called %q: a name has letters, digits, '-', '_' and '.', and begins with a letter or a digit.", b.Name)
	}
	u, err := url.Parse(b.URL)
	switch {
	case warehouse.RedactURL(b.URL) != b.URL:
		// Without a range: the line that it would show may hold the password.
		d.problem(hcl.Range{}, "Secret in a file", "%s, line %d: the URL of warehouse %q holds a password or a token. Name where it is instead, with password_env, token_env, password_file or token_file.", b.Range.Filename, b.Range.Start.Line, b.Name)
	case err != nil || u.Scheme == "" || u.Opaque != "":
		d.problem(b.Range, "Invalid warehouse URL", "Warehouse %q: %q is no URL such as reapi://cache.example:9092 or ca+https://example.org/wares.", b.Name, b.URL)
	case !slices.Contains(warehouseSchemes, u.Scheme):
		d.problem(b.Range, "Invalid warehouse URL", "Warehouse %q: there are no warehouses whose URLs begin with %s://. There are those of %s.", b.Name, u.Scheme, strings.Join(warehouseSchemes, ", "))
	}
	if b.TokenEnv != "" && b.TokenFile != "" || b.PasswordEnv != "" && b.PasswordFile != "" {
		d.problem(b.Range, "Secret in two places", "Warehouse %q names both the environment and a file for one secret. Leave one out.", b.Name)
	}
	if (w.CertFile == "") != (w.KeyFile == "") {
		d.problem(b.Range, "Half a client certificate", "Warehouse %q needs both cert_file and key_file, or neither.", b.Name)
	}
	return w
}

func (d *decoder) mirror(b mirrorBlock) Mirror {
	set := 0
	for _, s := range []string{b.Ware, b.Module, b.Prefix} {
		if s != "" {
			set++
		}
	}
	if set != 1 {
		d.problem(b.Range, "Invalid mirror", "A mirror is of exactly one of: a ware, a module, a prefix of URLs.")
	}
	if b.Ware != "" {
		if _, err := warehouse.ParseWareID(b.Ware); err != nil {
			d.problem(b.Range, "Invalid mirror", "%v.", err)
		}
	}
	if b.Prefix != "" && !strings.Contains(b.Prefix, ":") {
		d.problem(b.Range, "Invalid mirror", "No URL begins with %q.", b.Prefix)
	}
	if len(b.URLs) == 0 {
		d.problem(b.Range, "Invalid mirror", "It names no urls.")
	}
	for _, text := range b.URLs {
		u, err := url.Parse(text)
		switch {
		case b.Prefix != "" && !strings.Contains(text, "://") && strings.Contains(text, ":"): // HOST:PATH of a repository
		case err != nil || u.Scheme == "" || u.Opaque != "" || !strings.Contains(text, "://"):
			d.problem(b.Range, "Invalid mirror", "%q is no URL such as https://mirror.example.net/.", warehouse.RedactURL(text))
		case b.Prefix == "" && !slices.Contains(warehouseSchemes, u.Scheme), b.Prefix != "" && !slices.Contains(prefixSchemes, u.Scheme):
			d.problem(b.Range, "Invalid mirror", "Nothing can be fetched from %s here: it begins with %s://.", warehouse.RedactURL(text), u.Scheme)
		}
	}
	return Mirror(b)
}

// secrets finds those written where only the place of one belongs. The line is not
// shown.
func (d *decoder) secrets(body hcl.Body) {
	for _, b := range body.(*hclsyntax.Body).Blocks {
		for name, attr := range b.Body.Attributes {
			if b.Type == "warehouse" && slices.Contains([]string{"password", "token", "secret", "secret_key"}, name) {
				d.problem(hcl.Range{}, "Secret in a file", "%s, line %d: %s does not belong here. Name where it is instead, with password_env, token_env, password_file or token_file.", attr.SrcRange.Filename, attr.SrcRange.Start.Line, name)
			}
		}
	}
}

// path makes a path absolute: "~/" is the home directory, relative ones start where
// the file is.
func (d *decoder) path(p string) string {
	rest, home := strings.CutPrefix(p, "~/")
	switch {
	case p == "" || filepath.IsAbs(p):
		return p
	case home:
		return filepath.Join(os.Getenv("HOME"), rest)
	}
	return filepath.Join(d.dir, p)
}

func (d *decoder) problem(at hcl.Range, summary, format string, args ...any) {
	diag := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...)}
	if at.Start.Line > 0 {
		diag.Subject = &at
	}
	d.diags = append(d.diags, diag)
}
