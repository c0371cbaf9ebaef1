package gitremote

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/pack/git"
)

// A transport carries requests to a server.
type transport interface {
	// hello returns what the server begins with.
	hello(ctx context.Context) (io.Reader, error)
	// send sends a request and returns what is answered.
	send(ctx context.Context, request []byte) (io.Reader, error)
	close()
}

// A remote is a server that has been asked what it can do.
type remote struct {
	t       transport
	version int
	caps    map[string]string // version 2: of fetch and of all else
	known   []ref             // version 0: all there are
	peeled  []ref             // by the name of an annotated tag: what it was put on
	format  int               // bytes of an id
}

type ref struct {
	name string
	id   git.ID
}

func connect(ctx context.Context, u *url.URL, o *Options) (*remote, error) {
	var t transport
	switch u.Scheme {
	case "http", "https":
		t = newHTTP(u, o)
	case "git":
		t = &daemon{u: u, o: o}
	case "ssh":
		t = &sshRemote{u: u, o: o}
	default:
		return nil, fmt.Errorf("kiln fetches no repositories by %s", u.Scheme)
	}
	r := &remote{t: t, caps: map[string]string{}, format: 20}
	hello, err := t.hello(ctx)
	if err == nil {
		err = r.greeted(hello)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return r, nil
}

func (r *remote) close() { r.t.close() }

// greeted reads how a server begins: in version 2 with what it can do, in version 0
// with its refs, the first of which carries that.
func (r *remote) greeted(hello io.Reader) error {
	in := newLineReader(hello)
	first := true
	for {
		b, m, err := in.next()
		if err != nil {
			return err
		}
		text := string(b)
		switch {
		case m == flush && first:
			continue // after the name of the service
		case m == flush:
			return nil
		case first && strings.HasPrefix(text, "# service="):
			continue
		case first && text == "version 1":
			continue
		case first && text == "version 2":
			r.version = 2
		case r.version == 2:
			key, value, _ := strings.Cut(text, "=")
			r.caps[key] = value
			err = r.setFormat(key, value)
		default:
			err = r.firstRefs(text, first)
		}
		if err != nil {
			return err
		}
		first = false
	}
}

func (r *remote) setFormat(key, value string) error {
	if key != "object-format" {
		return nil
	}
	size, ok := map[string]int{"sha1": 20, "sha256": 32}[value]
	if !ok {
		return fmt.Errorf("its objects are named by %s, which kiln does not know", clean([]byte(value)))
	}
	r.format = size
	return nil
}

// firstRefs reads a line of version 0.
func (r *remote) firstRefs(text string, first bool) error {
	if first {
		var caps string
		text, caps, _ = strings.Cut(text, "\x00")
		for _, c := range strings.Fields(caps) {
			key, value, _ := strings.Cut(c, "=")
			r.caps[key] = value
			if err := r.setFormat(key, value); err != nil {
				return err
			}
		}
	}
	hex, name, ok := strings.Cut(text, " ")
	if !ok {
		return fmt.Errorf("it does not speak git's protocol: %q", clean([]byte(text)))
	}
	if name == "capabilities^{}" || hex == "shallow" {
		return nil // none at all; a boundary of its history
	}
	if tag, ok := strings.CutSuffix(name, "^{}"); ok {
		return r.keep(&r.peeled, hex, tag)
	}
	return r.keep(&r.known, hex, name)
}

func (r *remote) keep(refs *[]ref, hex, name string) error {
	id, err := git.ParseID(hex)
	if err == nil && len(id) != r.format {
		err = fmt.Errorf("%s is of another length than its objects have", id)
	}
	if err == nil {
		*refs = append(*refs, ref{name, id})
	}
	return err
}

// refs returns the refs whose names begin with one of prefixes; none: HEAD, branches
// and tags.
func (r *remote) refs(ctx context.Context, prefixes []string) ([]ref, error) {
	if prefixes == nil {
		prefixes = []string{"HEAD", "refs/heads/", "refs/tags/"}
	}
	var found []ref
	if r.version != 2 {
		for _, k := range r.known {
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(k.name, p) }) {
				found = append(found, k)
			}
		}
		return found, nil
	}
	var req lines
	r.command(&req, "ls-refs")
	for _, p := range prefixes {
		req.add("ref-prefix %s", p)
	}
	req.add("peel")
	req.mark(flush)
	answer, err := r.t.send(ctx, req.Bytes())
	if err != nil {
		return nil, err
	}
	in := newLineReader(answer)
	for {
		b, m, err := in.next()
		if err != nil || m == flush {
			return found, err
		}
		hex, rest, _ := strings.Cut(strings.TrimSuffix(string(b), "\n"), " ")
		name, attributes, _ := strings.Cut(rest, " ")
		if hex == "unborn" {
			continue
		}
		for _, attribute := range strings.Fields(attributes) {
			if peeled, ok := strings.CutPrefix(attribute, "peeled:"); ok {
				if err := r.keep(&r.peeled, peeled, name); err != nil {
					return nil, err
				}
			}
		}
		if err := r.keep(&found, hex, name); err != nil {
			return nil, err
		}
	}
}

// command begins a request of version 2.
func (r *remote) command(req *lines, name string) {
	req.add("command=%s", name)
	if _, ok := r.caps["agent"]; ok {
		req.add("agent=%s", agent)
	}
	if format, ok := r.caps["object-format"]; ok {
		req.add("object-format=%s", format)
	}
	req.mark(delimiter)
}

// agent is how kiln calls itself. Some servers speak git's protocol only with what
// begins like this.
const agent = "git/2.0-kiln"

// find returns the object that name stands for: a ref or what is known by its id. It
// is "" for what may be an abbreviated commit that is no tip.
func (r *remote) find(ctx context.Context, name string) (git.ID, error) {
	if wholeID.MatchString(name) && len(name) == 2*r.format {
		return git.ParseID(name)
	}
	if name != "" {
		if err := git.CheckRef(name); err != nil {
			return "", err
		}
	}
	candidates := git.Candidates(name)
	refs, err := r.refs(ctx, candidates)
	if err != nil {
		return "", err
	}
	for _, c := range candidates {
		for _, k := range refs {
			if k.name == c {
				return k.id, nil
			}
		}
	}
	if refs, err = r.refs(ctx, nil); err != nil {
		return "", err
	}
	if name == "" {
		return "", fmt.Errorf("its HEAD names no commit: say which ref to use%s", some(names(refs)))
	}
	if !abbreviation.MatchString(name) {
		return "", &git.RefError{Name: name, Known: names(refs)}
	}
	var found git.ID
	for _, k := range refs {
		if strings.HasPrefix(k.id.String(), strings.ToLower(name)) {
			if found != "" && found != k.id {
				return "", fmt.Errorf("%s: %w", name, git.ErrAmbiguous)
			}
			found = k.id
		}
	}
	return found, nil
}

func some(names []string) string {
	if len(names) == 0 {
		return "; it has none"
	}
	return ", such as " + names[0]
}

// names returns the short names of branches and tags.
func names(refs []ref) []string {
	var all []string
	for _, k := range refs {
		if strings.HasPrefix(k.name, "refs/") {
			all = append(all, git.ShortName(k.name))
		}
	}
	return all
}

// tips returns what refs name, each once.
func tips(refs []ref) []git.ID {
	var ids []git.ID
	seen := map[git.ID]bool{}
	for _, k := range refs {
		if !seen[k.id] {
			ids, seen[k.id] = append(ids, k.id), true
		}
	}
	return ids
}
