package plan

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack/git"
	"github.com/kilnbuild/kiln/plan/workspace"
	"github.com/kilnbuild/kiln/warehouse"
)

// A warehouse address is where packed wares can be fetched, as warpforge and rio write
// it: a URL of one packed ware, or with "ca+" before it, of a directory in which each
// lies under its hash.

// packedURL returns where the ware id lies according to a warehouse address.
func packedURL(addr string, id warehouse.WareID) (string, error) {
	scheme, rest, ok := strings.Cut(addr, "://")
	if !ok {
		return "", fmt.Errorf("%s is no warehouse address, which is a URL", redactURL(addr))
	}
	byContent := false
	if inner, ca := strings.CutPrefix(scheme, "ca+"); ca {
		scheme, byContent = inner, true
	}
	switch scheme {
	case "s3": // as warpforge does: buckets that can be read are read over https
		scheme = "https"
	case "http", "https", "file":
	default:
		return "", fmt.Errorf("kiln fetches from no %s:// address", scheme)
	}
	if !byContent {
		return scheme + "://" + rest, nil
	}
	if len(id.Hash) < 7 {
		return "", fmt.Errorf("the hash of %s is too short to be found by", id)
	}
	return scheme + "://" + strings.TrimSuffix(rest, "/") + "/" + id.Hash[:3] + "/" + id.Hash[3:6] + "/" + url.PathEscape(id.Hash), nil
}

// where returns the warehouse addresses to try for s, which has an id: this machine's
// workspaces first.
func (src *sources) where(s *source) []string {
	addrs := src.workspaces(s.wares[0].Dir).Warehouses()
	for _, w := range s.wares {
		addrs = append(addrs, w.Source.Addresses...)
	}
	addrs = append(addrs, s.mirrors...)
	var unique []string
	seen := map[string]bool{}
	for _, addr := range addrs {
		if !seen[addr] {
			seen[addr] = true
			unique = append(unique, addr)
		}
	}
	return unique
}

func (src *sources) workspaces(dir string) workspace.Set {
	if found, ok := src.spaces.Load(dir); ok {
		return found.(workspace.Set)
	}
	set := workspace.Find(dir)
	src.spaces.Store(dir, set)
	return set
}

// lookUp finds what a catalog ware names.
func (src *sources) lookUp(s *source) error {
	w := s.wares[0]
	item, err := src.workspaces(w.Dir).Lookup(w.Source.Catalog)
	if errors.Is(err, workspace.ErrUnknown) {
		err = unavailableError{err}
	}
	s.id, s.mirrors = item.ID, item.Addresses
	return err
}

// fetchPacked brings the ware s.id into the warehouse from the first address that has
// it. What an address gives has to be that ware.
func (src *sources) fetchPacked(ctx context.Context, s *source) error {
	if s.id.String() == formula.EmptyWare {
		return src.packs.putEmpty(ctx)
	}
	var failures []error
	mismatch := false
	for _, addr := range src.where(s) {
		err := src.fetchFrom(ctx, s, addr)
		if err == nil || ctx.Err() != nil {
			return err
		}
		mismatch = mismatch || errors.Is(err, ErrMismatch)
		failures = append(failures, err)
	}
	missing := &warehouse.MissingError{What: "ware " + s.id.String()}
	if failures == nil {
		return missing
	}
	err := fmt.Errorf("%w, and no address gives it: %w", missing, joined(failures))
	if mismatch {
		return mismatchError{err}
	}
	return unavailableError{err}
}

// joined joins errors on one line.
func joined(errs []error) error {
	err := errs[0]
	for _, next := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, next)
	}
	return err
}

func (src *sources) fetchFrom(ctx context.Context, s *source, addr string) error {
	if s.id.Packtype == git.Packtype {
		return src.fetchCommit(ctx, s, addr)
	}
	at, err := packedURL(addr, s.id)
	if err != nil {
		return err
	}
	w := s.wares[0]
	dl, err := src.download(ctx, w, at, "")
	if err != nil {
		return err
	}
	defer dl.remove()
	id, err := src.packs.unpackAs(ctx, s.id.Packtype, redactURL(at), dl, src.report(w.Addr, PhaseUnpack))
	src.end(w.Addr, PhaseUnpack, err)
	if err == nil && id != s.id {
		err = mismatchError{fmt.Errorf("%s gives the ware %s", redactURL(at), id)}
	}
	if err != nil {
		return err
	}
	return src.checkTree(s, at)
}

// fetchCommit fetches a ware that is a commit from the repository at an address.
func (src *sources) fetchCommit(ctx context.Context, s *source, addr string) error {
	if strings.HasPrefix(addr, "ca+") {
		return fmt.Errorf("%s holds packed wares, and a commit is in a repository", redactURL(addr))
	}
	w := *s.wares[0]
	w.Source = formula.Source{Kind: formula.SourceGit, Git: strings.TrimPrefix(addr, "git+")}
	if _, err := src.fetchGit(ctx, &w, s.id.Hash); err != nil {
		return err
	}
	return src.checkTree(s, addr)
}

// checkTree compares the fileset of s, which came from the address at, with the one
// that the lock file names, if it does.
func (src *sources) checkTree(s *source, at string) error {
	if s.entry.Tree.IsZero() {
		return nil
	}
	rec, err := src.o.Warehouse.Get(s.id)
	if err != nil {
		return err
	}
	if err := rec.CheckTree(s.entry.Tree, "the lock file"); err != nil {
		return errors.Join(mismatchError{fmt.Errorf("%s: %w", redactURL(at), err)}, src.o.Warehouse.Remove(s.id))
	}
	return nil
}
