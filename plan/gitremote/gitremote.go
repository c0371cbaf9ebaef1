// Package gitremote fetches commits from git repositories on other machines, over
// http, https, ssh and git://, into a cache of bare repositories. What is in a repository
// package pack/git knows; this one speaks with servers.
//
// It speaks version 2 of git's protocol, in which a client asks for the refs it
// wants to know and any commit can be fetched alone, and version 0 with servers that
// do not know it. (go-git speaks 0 only, where most servers give no commit but the
// tips of branches and tags.) A fetch names the commits that are in the cache, so
// that only objects are sent that it does not have.
package gitremote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/kilnbuild/kiln/pack/git"
)

// ErrOffline says that something is not in the cache and Options.Offline forbids to ask.
var ErrOffline = errors.New("not in the cache, and the network may not be used")

// A TemporaryError may pass: trying again is worth it.
type TemporaryError struct {
	Err   error
	After time.Duration // when the server says to come back; 0 if it does not
}

func (e *TemporaryError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *TemporaryError) Unwrap() error { return e.Err }

// Options says how repositories are fetched.
type Options struct {
	Dir      string // of the cache; made if it is missing
	Client   *http.Client
	Offline  bool                    // only what is in the cache
	MaxBytes int64                   // of one fetch
	Stall    time.Duration           // without a byte, a connection counts as dead
	Progress func(done, total int64) // bytes; total is -1: not known. May be nil
}

var wholeID = lazyregexp.New(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// abbreviation matches what may be the beginning of a commit: git asks for four digits.
var abbreviation = lazyregexp.New(`^[0-9a-fA-F]{4,63}$`)

// Open returns a repository that has all of the commit that name stands for in the
// repository at rawURL: a whole commit in lower case, which is not asked for if it is
// in the cache; a branch, a tag or an abbreviated commit; "" is HEAD. The error is a
// git.RefError if there is no such ref. Several processes may share a cache.
func Open(ctx context.Context, rawURL, name string, o Options) (*git.Repo, git.ID, error) {
	u, err := parse(rawURL)
	if err != nil {
		return nil, "", err
	}
	c := &cache{dir: cacheDir(o.Dir, u), o: &o}
	if wholeID.MatchString(name) {
		if id, err := git.ParseID(name); err == nil && c.has(id) {
			if repo, err := c.open(); err == nil {
				return repo, id, nil
			}
		}
	}
	if o.Offline {
		return nil, "", ErrOffline
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	if repo, err := c.open(); err == nil {
		repo.Close()
	} else if err := c.clear(); err != nil { // there is none, or it is damaged
		return nil, "", err
	}
	id, err := c.bring(ctx, u, name)
	if err != nil {
		return nil, "", err
	}
	repo, err := c.open()
	return repo, id, err
}

func parse(rawURL string) (*url.URL, error) {
	if u, ok := parseSSH(rawURL); ok {
		return u, nil
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("the URL cannot be read")
	}
	if u.Host == "" {
		return nil, errors.New("the URL names no host")
	}
	return u, nil
}

// Drop removes what the cache has of the repository at rawURL, because it is damaged.
func Drop(ctx context.Context, rawURL string, o Options) error {
	u, err := parse(rawURL)
	if err != nil {
		return err
	}
	c := &cache{dir: cacheDir(o.Dir, u), o: &o}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return c.clear()
}

// cacheDir is where the cache keeps a repository. Who asks for it does not count.
func cacheDir(dir string, u *url.URL) string {
	plain := *u
	plain.User = nil
	sum := sha256.Sum256([]byte(plain.String()))
	return filepath.Join(dir, hex.EncodeToString(sum[:16]))
}

// bring puts into the cache what name stands for and returns its commit.
func (c *cache) bring(ctx context.Context, u *url.URL, name string) (git.ID, error) {
	if wholeID.MatchString(name) {
		if id, err := git.ParseID(name); err == nil && c.has(id) {
			return id, nil // another process has brought it
		}
	}
	r, err := connect(ctx, u, c.o)
	if err != nil {
		return "", err
	}
	defer r.close()
	if err := c.init(r.format); err != nil {
		return "", err
	}
	want, err := r.find(ctx, name)
	if err != nil {
		return "", err
	}
	if want == "" { // an abbreviation of no tip: only the history tells
		return c.search(ctx, r, name)
	}
	if c.has(want) {
		return want, nil
	}
	err = c.fetch(ctx, r, request{want: []git.ID{want}, depth: 1})
	var refused *refusedError
	if errors.As(err, &refused) && wholeID.MatchString(name) {
		// The server gives what its refs lead to, and no commit alone.
		return want, c.all(ctx, u, want)
	}
	if err != nil {
		return "", err
	}
	return c.complete(want)
}

// search fetches the whole history and looks there for an abbreviated commit.
func (c *cache) search(ctx context.Context, r *remote, name string) (git.ID, error) {
	refs, err := r.refs(ctx, nil)
	if err != nil {
		return "", err
	}
	if err := c.fetch(ctx, r, request{want: tips(refs)}); err != nil {
		return "", err
	}
	repo, err := c.open()
	if err != nil {
		return "", err
	}
	defer repo.Close()
	id, err := repo.Abbreviated(name)
	if err == nil && id == "" {
		err = &git.RefError{Name: name, Known: names(refs)}
	}
	if err != nil {
		return "", err
	}
	return c.complete(id)
}

// all fetches everything that branches and tags lead to, to have a commit.
func (c *cache) all(ctx context.Context, u *url.URL, want git.ID) error {
	r, err := connect(ctx, u, c.o) // it ends connections on which it has refused something
	if err != nil {
		return err
	}
	defer r.close()
	refs, err := r.refs(ctx, nil)
	if err != nil {
		return err
	}
	if err := c.fetch(ctx, r, request{want: tips(refs)}); err != nil {
		return err
	}
	repo, err := c.open()
	if err != nil {
		return err
	}
	defer repo.Close()
	if !repo.Objects.Has(want) {
		return fmt.Errorf("the server has no commit %s", want)
	}
	_, err = c.complete(want)
	return err
}
