package git

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// modules says of each submodule's path where it comes from.
type modules map[string]module

type module struct{ name, url string }

// readModules reads the .gitmodules of a tree; nil if it has none.
func (r *Repo) readModules(tree []TreeEntry) (modules, error) {
	for _, e := range tree {
		if e.Name != ".gitmodules" {
			continue
		}
		if e.Mode != ModeFile && e.Mode != ModeExecutable {
			return nil, errors.New(".gitmodules is no file")
		}
		data, err := r.Objects.Read(e.ID, Blob, maxText)
		if err != nil {
			return nil, fmt.Errorf(".gitmodules: %w", err)
		}
		settings, err := parseConfig(string(data))
		if err != nil {
			return nil, fmt.Errorf(".gitmodules: %w", err)
		}
		return modulesOf(settings), nil
	}
	return nil, nil
}

func modulesOf(settings []setting) modules {
	paths, urls := map[string]string{}, map[string]string{}
	for _, s := range settings {
		switch {
		case s.section != "submodule":
		case s.key == "path":
			paths[s.name] = strings.TrimSuffix(s.value, "/")
		case s.key == "url":
			urls[s.name] = s.value
		}
	}
	m := modules{}
	for name, path := range paths {
		m[path] = module{name, urls[name]}
	}
	return m
}

// local opens the copy of a submodule's repository that git keeps within r, if that
// is there and has the commit.
func (r *Repo) local(m module, commit ID) *Repo {
	// The name comes with the repository: it must not lead elsewhere.
	if !filepath.IsLocal(m.name) || len(commit) != r.size {
		return nil
	}
	dir := filepath.Join(r.common, "modules", m.name)
	if real, err := filepath.EvalSymlinks(dir); err != nil || !isRepo(real) || !strings.HasSuffix(real, "/modules/"+m.name) {
		return nil
	}
	sub, err := Open(dir)
	if err != nil {
		return nil
	}
	if !sub.Objects.Has(commit) {
		sub.Close()
		return nil
	}
	return sub
}

// shown returns a url without its password.
func shown(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return text
}

// RelativeURL resolves the url of a submodule, which may begin with "./" or "../",
// against the url or path of the repository that names it. It stays on that one's host.
func RelativeURL(parent, child string) (string, error) {
	if !strings.HasPrefix(child, "./") && !strings.HasPrefix(child, "../") {
		return child, nil
	}
	host, path := "", strings.TrimRight(parent, "/")
	if u, err := url.Parse(parent); err == nil && u.Scheme != "" && strings.Contains(parent, "://") {
		at := strings.Index(parent, "://") + 3
		slash := strings.IndexByte(parent[at:], '/')
		if slash < 0 {
			return "", fmt.Errorf("%q leads out of %s", child, u.Host)
		}
		host, path = parent[:at+slash], strings.TrimRight(parent[at+slash:], "/")
	} else if colon := strings.IndexByte(parent, ':'); colon > 0 && !strings.Contains(parent[:colon], "/") {
		host, path = parent[:colon+1], "/"+strings.Trim(parent[colon+1:], "/")
	}
	rest := child
	for {
		if after, ok := strings.CutPrefix(rest, "./"); ok {
			rest = after
		} else if after, ok := strings.CutPrefix(rest, "../"); ok {
			up := strings.LastIndexByte(path, '/')
			if up < 0 || path == "" {
				return "", fmt.Errorf("%q leads out of %s", child, parent)
			}
			path, rest = path[:up], after
		} else {
			break
		}
	}
	path += "/" + strings.TrimRight(rest, "/")
	if strings.HasSuffix(host, ":") && !strings.Contains(host, "/") {
		path = strings.TrimPrefix(path, "/")
	}
	return host + path, nil
}
