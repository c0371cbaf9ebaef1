package git

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A RefError says that a repository has no ref or commit of a name.
type RefError struct {
	Name  string
	Known []string // names that the repository has, short
}

func (e *RefError) Error() string { return fmt.Sprintf("there is no branch, tag or commit %q", e.Name) }

// ErrAmbiguous says that an abbreviation stands for several objects.
var ErrAmbiguous = errors.New("several commits begin so: give more of it")

// Candidates returns the refs that name may stand for, the first that exists counts:
// the order is git's.
func Candidates(name string) []string {
	if name == "" || name == "HEAD" {
		return []string{"HEAD"}
	}
	if strings.HasPrefix(name, "refs/") {
		return []string{name}
	}
	return []string{"refs/" + name, "refs/tags/" + name, "refs/heads/" + name, "refs/remotes/" + name, "refs/remotes/" + name + "/HEAD"}
}

// ShortName returns what of a ref people write.
func ShortName(ref string) string {
	for _, prefix := range []string{"refs/heads/", "refs/tags/", "refs/remotes/"} {
		if short, ok := strings.CutPrefix(ref, prefix); ok {
			return short
		}
	}
	return ref
}

// CheckRef refuses what can be no name of a ref or commit, as git check-ref-format does.
func CheckRef(name string) error {
	for _, part := range strings.Split(name, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return fmt.Errorf("%q is no name of a branch, tag or commit", name)
		}
	}
	bad := strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) })
	if bad >= 0 || strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.HasSuffix(name, ".") ||
		strings.HasPrefix(name, "-") || name == "@" || len(name) > 1000 {
		return fmt.Errorf("%q is no name of a branch, tag or commit; kiln reads no other expressions", name)
	}
	return nil
}

// Resolve returns the commit that name stands for: a ref, a whole or an abbreviated
// commit. "" is HEAD. The error is a RefError if there is none.
func (r *Repo) Resolve(name string) (ID, error) {
	if len(name) == 2*r.size {
		if id, err := ParseID(name); err == nil {
			return r.Peel(id)
		}
	}
	if name != "" {
		if err := CheckRef(name); err != nil {
			return "", err
		}
	}
	for _, ref := range Candidates(name) {
		id, err := r.ref(ref)
		if err == nil {
			return r.Peel(id)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	id, err := r.Abbreviated(name)
	if err != nil || id != "" {
		return id, err
	}
	if name == "" {
		return "", errors.New("it has no commit yet: HEAD names a branch that does not exist")
	}
	return "", &RefError{Name: name, Known: r.names()}
}

// Abbreviated returns the commit whose id begins with text, of at least four
// hexadecimal digits; "" if there is none.
func (r *Repo) Abbreviated(text string) (ID, error) {
	ids, err := r.Objects.begin(strings.ToLower(text))
	if err != nil {
		return "", err
	}
	var found ID
	for _, id := range ids {
		if commit, err := r.Peel(id); err == nil {
			if found != "" && found != commit {
				return "", fmt.Errorf("%s: %w", text, ErrAmbiguous)
			}
			found = commit
		}
	}
	return found, nil
}

// ref returns what a ref names, following symbolic ones.
func (r *Repo) ref(name string) (ID, error) {
	for range 5 { // as git
		id, next, err := r.readRef(name)
		if err != nil || next == "" {
			return id, err
		}
		if CheckRef(next) != nil || !strings.HasPrefix(next, "refs/") {
			break
		}
		name = next
	}
	return "", fmt.Errorf("ref %s leads nowhere", name)
}

func (r *Repo) readRef(name string) (id ID, next string, err error) {
	dir := r.common
	if name == "HEAD" {
		dir = r.dir
	}
	path := filepath.Join(dir, name)
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		id, err := r.packedRef(name)
		return id, "", err
	}
	text, err := readText(path)
	if err != nil {
		return "", "", err
	}
	text = strings.TrimSpace(text)
	if next, ok := strings.CutPrefix(text, "ref:"); ok {
		return "", strings.TrimSpace(next), nil
	}
	if id, err = ParseID(text); err != nil {
		err = fmt.Errorf("ref %s is damaged: %w", name, err)
	}
	return id, "", err
}

func (r *Repo) packedRef(name string) (found ID, err error) {
	err = r.packedRefs(func(ref string, id ID) {
		if ref == name {
			found = id
		}
	})
	if err == nil && found == "" {
		err = fs.ErrNotExist
	}
	return found, err
}

// packedRefs calls f for each ref in the file that keeps many.
func (r *Repo) packedRefs(f func(ref string, id ID)) error {
	file, err := os.Open(filepath.Join(r.common, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		text, ref, ok := strings.Cut(lines.Text(), " ")
		if id, err := ParseID(text); ok && err == nil {
			f(ref, id)
		}
	}
	return lines.Err()
}

// names returns the short names of branches and tags.
func (r *Repo) names() []string {
	var names []string
	for _, dir := range []string{"refs/heads", "refs/tags"} {
		root := filepath.Join(r.common, dir)
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if rel, relErr := filepath.Rel(root, path); err == nil && relErr == nil && !d.IsDir() {
				names = append(names, rel)
			}
			return nil
		})
	}
	_ = r.packedRefs(func(ref string, _ ID) { names = append(names, ShortName(ref)) })
	return names
}
