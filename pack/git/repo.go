package git

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Repo is a repository on this machine, open for reading. Its methods are safe for
// concurrent use. The caller closes it.
type Repo struct {
	Objects *Store
	dir     string // the repository's own directory, "….git"
	common  string // of a work tree added to another repository, that one's
	size    int    // bytes of an id
	remote  string // url of the remote "origin", or ""
}

// Open opens the repository at path: a work tree, or a directory as git init --bare
// makes it. Like git, it also finds "path.git".
func Open(path string) (*Repo, error) {
	dir, err := findDir(path)
	if err != nil {
		return nil, err
	}
	r := &Repo{dir: dir, common: dir, size: 20}
	if text, err := readText(filepath.Join(dir, "commondir")); err == nil {
		if r.common = strings.TrimSpace(text); !filepath.IsAbs(r.common) {
			r.common = filepath.Join(dir, r.common)
		}
	}
	if err := r.readConfig(); err != nil {
		return nil, err
	}
	r.Objects, err = OpenStore(filepath.Join(r.common, "objects"), r.size)
	return r, err
}

// Close closes the repository's files.
func (r *Repo) Close() error { return r.Objects.Close() }

// origin is where the repository is from, or if it is from nowhere its own path: git
// resolves relative urls of submodules against that.
func (r *Repo) origin() string {
	switch {
	case r.remote != "":
		return r.remote
	case filepath.Base(r.dir) == ".git":
		return filepath.Dir(r.dir)
	}
	return r.dir
}

func findDir(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		if isRepo(path + ".git") {
			return path + ".git", nil
		}
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is a file, not a repository's directory", path)
	}
	for _, dir := range []string{filepath.Join(path, ".git"), path, path + ".git"} {
		if isRepo(dir) {
			return dir, nil
		}
	}
	// A work tree of a submodule, or one added to a repository: ".git" is a file.
	if text, err := readText(filepath.Join(path, ".git")); err == nil {
		dir, ok := strings.CutPrefix(strings.TrimSpace(text), "gitdir: ")
		if ok && !filepath.IsAbs(dir) {
			dir = filepath.Join(path, dir)
		}
		if ok && isRepo(dir) {
			return dir, nil
		}
	}
	for up := filepath.Dir(path); ; up = filepath.Dir(up) {
		if isRepo(filepath.Join(up, ".git")) {
			rel, _ := filepath.Rel(up, path)
			return "", fmt.Errorf("%s is no git repository, but lies in one: name %s, and say subdir = %q", path, up, rel)
		}
		if up == filepath.Dir(up) {
			return "", fmt.Errorf("%s is no git repository", path)
		}
	}
}

// isRepo looks for what git looks for.
func isRepo(dir string) bool {
	if _, err := os.Lstat(filepath.Join(dir, "HEAD")); err != nil {
		return false
	}
	if _, err := os.Stat(filepath.Join(dir, "commondir")); err == nil {
		return true
	}
	objects, err := os.Stat(filepath.Join(dir, "objects"))
	return err == nil && objects.IsDir()
}

// readConfig refuses repositories that are not kept as this package knows it.
func (r *Repo) readConfig() error {
	text, err := readText(filepath.Join(r.common, "config"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	settings, err := parseConfig(text)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(r.common, "config"), err)
	}
	version := "0"
	var unknown []string
	for _, s := range settings {
		switch {
		case s.section == "remote" && s.name == "origin" && s.key == "url":
			r.remote = s.value
		case s.section == "core" && s.key == "repositoryformatversion":
			version = s.value
		case s.section != "extensions" || s.name != "":
		case s.key == "objectformat" && strings.EqualFold(s.value, "sha256"):
			r.size = 32
		case s.key == "objectformat" && strings.EqualFold(s.value, "sha1"):
		case s.key == "refstorage" && s.value == "files":
		case slices.Contains([]string{"noop", "preciousobjects", "partialclone", "worktreeconfig", "relativeworktrees"}, s.key):
		default:
			unknown = append(unknown, fmt.Sprintf("%s = %q", s.key, s.value))
		}
	}
	if version == "0" {
		r.size = 20 // extensions do not count then
		return nil
	}
	if version != "1" || len(unknown) > 0 {
		return fmt.Errorf("%s is a repository of a form that kiln cannot read (version %q %s)", r.common, version, strings.Join(unknown, ", "))
	}
	return nil
}

// maxText is how long a ref or a repository's configuration may be.
const maxText = 1 << 20

// readText reads a small file that may have been made by others.
func readText(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxText {
		return "", fmt.Errorf("%s is no file of at most %d bytes", path, maxText)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxText))
	return string(data), err
}
