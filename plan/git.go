package plan

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/git"
)

var wholeCommit = regexp.MustCompile(`^([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$`)

// pinnedGit reports whether a source names a commit that no update can move.
func pinnedGit(s formula.Source) bool {
	return s.Kind == formula.SourceGit && wholeCommit.MatchString(s.Ref)
}

// gitPath returns where a local repository is; ok is false for a url of another machine.
func gitPath(w *formula.Ware) (path string, ok bool) {
	text := w.Source.Git
	if !formula.IsGitURL(text) {
		return hostPath(text, w.Dir), true
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "file" {
		return "", false
	}
	return filepath.Clean(u.Path), true
}

// hostPath returns where a path that a formula names is: below the directory of the
// formula file, or where "~/" says so below the home directory. Without a home directory
// the path stays as it was written, for a message to show.
func hostPath(path, dir string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/') {
		if home, err := os.UserHomeDir(); err == nil {
			path = filepath.Join(home, rest)
		}
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// fetchGit brings a commit of w's repository into the warehouse: the one named by
// commit, or if that is "" the one that w's ref names now.
func (src *sources) fetchGit(ctx context.Context, w *formula.Ware, commit string) (LockEntry, error) {
	if commit == "" {
		commit = w.Source.Ref
	}
	repo, id, err := src.openGit(ctx, w, commit)
	src.end(w.Addr, PhaseFetch, err)
	if err != nil {
		return LockEntry{}, fmt.Errorf("git %s: %w", redactURL(w.Source.Git), refHint(err))
	}
	defer repo.Close()
	e := gitEntry(w.Source)
	e.Commit = id.String()
	rec, err := repo.Checkout(ctx, src.o.Warehouse, id, src.packs.gitOptions(w, src.report(w.Addr, PhaseUnpack)))
	src.end(w.Addr, PhaseUnpack, err)
	e.ID = rec.ID
	return e, err
}

// openGit opens a repository that has the commit that name stands for.
func (src *sources) openGit(ctx context.Context, w *formula.Ware, name string) (*git.Repo, git.ID, error) {
	path, local := gitPath(w)
	if !local {
		return nil, "", errors.New("not yet")
	}
	repo, err := git.Open(path)
	if err != nil {
		return nil, "", unavailableError{err}
	}
	id, err := repo.Resolve(name)
	if err != nil {
		repo.Close()
		return nil, "", unavailableError{err}
	}
	return repo, id, nil
}

// refHint adds to an error about an unknown ref which there are.
func refHint(err error) error {
	var ref *git.RefError
	if !errors.As(err, &ref) {
		return err
	}
	if near := nearest(ref.Name, ref.Known); near != "" {
		return fmt.Errorf("%w (did you mean %q?)", err, near)
	}
	if n := len(ref.Known); n > 0 && n <= 8 {
		slices.Sort(ref.Known)
		return fmt.Errorf("%w, there is: %s", err, strings.Join(slices.Compact(ref.Known), ", "))
	}
	return err
}

func (p *packer) gitOptions(w *formula.Ware, progress progressFunc) git.Options {
	filters, _ := pack.ParseFilters(w.Source.Filters)
	return git.Options{
		Options:      pack.Options{Filters: filters, Include: w.Source.Include, Exclude: w.Source.Exclude, Progress: progress.entries()},
		Name:         redactURL(w.Source.Git),
		Subdir:       w.Source.Subdir,
		NoSubmodules: w.Source.NoSubmodules,
		MaxBytes:     p.o.MaxDownload,
	}
}

// gitEntry is the lock file's entry for a git source, without what it resolves to.
func gitEntry(s formula.Source) LockEntry {
	return LockEntry{
		Git: redactURL(s.Git), Ref: s.Ref, Subdir: s.Subdir, NoSubmodules: s.NoSubmodules,
		Include: joinPatterns(s.Include), Exclude: joinPatterns(s.Exclude), Filters: s.Filters,
	}
}

// joinPatterns makes one comparable text of patterns, none of which holds a NUL.
func joinPatterns(patterns []string) string { return strings.Join(patterns, "\x00") }

func splitPatterns(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}
