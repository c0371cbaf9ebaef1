package gitremote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/pack/git"
)

// A request is what a fetch asks for.
type request struct {
	want    []git.ID
	depth   int      // of history; 0: all of it
	have    []git.ID // commits that are here, with all of their trees
	shallow []git.ID // those of them whose parents are not
}

// errNothing says that there is nothing to ask for.
var errNothing = errors.New("it has no branches and tags")

// fetch asks for a pack. It returns the pack and which commits come without their
// parents.
func (r *remote) fetch(ctx context.Context, q request) (pack io.Reader, shallow []git.ID, err error) {
	if len(q.want) == 0 {
		return nil, nil, errNothing
	}
	if !r.canDepth() {
		q.depth = 0
	}
	var req lines
	if r.version == 2 {
		r.command(&req, "fetch")
		req.add("no-progress")
		req.add("ofs-delta")
		req.add("thin-pack") // without it, git leaves out nothing that is here
		q.lines(&req, "", 2)
	} else {
		if err := r.mayWant(q.want); err != nil {
			return nil, nil, err
		}
		q.lines(&req, r.options(), 0)
	}
	answer, err := r.t.send(ctx, req.Bytes())
	if err != nil {
		return nil, nil, err
	}
	in := newLineReader(answer)
	if r.version == 2 {
		shallow, err = sections(in)
		return &sideReader{l: in}, shallow, err
	}
	return r.oldAnswer(in)
}

// lines writes the request. In version 0, options go with the first want, and a flush
// is behind what is wanted; in version 2, one is at the end.
func (q *request) lines(req *lines, options string, version int) {
	for _, id := range q.want {
		req.add("want %s%s", id, options)
		options = ""
	}
	for _, id := range q.shallow {
		req.add("shallow %s", id)
	}
	if q.depth > 0 {
		req.add("deepen %d", q.depth)
	}
	if version != 2 {
		req.mark(flush)
	}
	for _, id := range q.have {
		req.add("have %s", id)
	}
	req.add("done")
	if version == 2 {
		req.mark(flush)
	}
}

// canDepth reports whether the server can leave out the parents of commits.
func (r *remote) canDepth() bool {
	if r.version == 2 {
		return slices.Contains(strings.Fields(r.caps["fetch"]), "shallow")
	}
	_, ok := r.caps["shallow"]
	return ok
}

// mayWant refuses to ask a server of version 0 for what it has not offered, which it
// answers by ending the connection.
func (r *remote) mayWant(ids []git.ID) error {
	for _, c := range []string{"allow-tip-sha1-in-want", "allow-reachable-sha1-in-want"} {
		if _, ok := r.caps[c]; ok {
			return nil
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(r.known, func(k ref) bool { return k.id == id }) {
			return &refusedError{fmt.Sprintf("it gives no commit alone, and %s is no branch or tag", id)}
		}
	}
	return nil
}

// options are what of the server's abilities is asked for in version 0.
func (r *remote) options() string {
	var b strings.Builder
	for _, c := range []string{"side-band-64k", "ofs-delta", "thin-pack", "no-progress"} {
		if _, ok := r.caps[c]; ok {
			b.WriteString(" " + c)
		}
	}
	if format, ok := r.caps["object-format"]; ok {
		b.WriteString(" object-format=" + format)
	}
	return b.String() + " agent=" + agent
}

// sections reads an answer of version 2 as far as its pack.
func sections(in *lineReader) (shallow []git.ID, err error) {
	for {
		b, m, err := in.next()
		if err != nil {
			return nil, err
		}
		text := string(b)
		switch {
		case m == flush:
			return nil, errors.New("the server sends no pack")
		case text == "packfile":
			return shallow, nil
		case strings.HasPrefix(text, "shallow "):
			if id, err := git.ParseID(text[len("shallow "):]); err == nil {
				shallow = append(shallow, id)
			}
		}
	}
}

// oldAnswer reads an answer of version 0 as far as its pack.
func (r *remote) oldAnswer(in *lineReader) (pack io.Reader, shallow []git.ID, err error) {
	_, side := r.caps["side-band-64k"]
	for {
		// The pack follows without a mark, in lines of its own or as it is.
		head, err := in.r.Peek(5)
		if err != nil {
			return nil, nil, cut(err)
		}
		if !side && bytes.HasPrefix(head, []byte("PACK")) {
			return in.r, shallow, nil
		}
		if side && head[4] <= 3 && string(head[:4]) != "0000" {
			return &sideReader{l: in}, shallow, nil
		}
		b, _, err := in.next()
		if err != nil {
			return nil, nil, err
		}
		if id, is := strings.CutPrefix(string(b), "shallow "); is {
			if id, err := git.ParseID(id); err == nil {
				shallow = append(shallow, id)
			}
		}
	}
}
