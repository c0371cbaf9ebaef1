package gitremote

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/kilnbuild/kiln/pack/git"
)

// canned is a server that says the same to all requests.
type canned struct{ greeting, answer []byte }

func (c canned) hello(context.Context) (io.Reader, error) { return bytes.NewReader(c.greeting), nil }
func (c canned) send(context.Context, []byte) (io.Reader, error) {
	return bytes.NewReader(c.answer), nil
}
func (c canned) close() {}

// FuzzServer takes what a server says. Whatever that is, it is read to an end, and
// ids are as long as the server said they are.
func FuzzServer(f *testing.F) {
	id := "0123456789012345678901234567890123456789"
	v2 := pkt("version 2\n") + pkt("fetch=shallow\n") + pkt("object-format=sha1\n") + "0000"
	f.Add([]byte(v2), []byte(pkt(id+" refs/heads/main\n")+"0000"))
	f.Add([]byte(v2), []byte(pkt("shallow-info")+pkt("shallow "+id)+"0001"+pkt("packfile\n")+pkt("\x02x")+pkt("\x01PACK")+"0000"))
	f.Add([]byte(pkt("# service=git-upload-pack\n")+"0000"+pkt(id+" HEAD\x00side-band-64k shallow\n")+pkt(id+" refs/heads/main\n")+"0000"),
		[]byte(pkt("shallow "+id)+"0000"+pkt("NAK\n")+pkt("\x01PACK")+"0000"))
	f.Add([]byte(pkt("ERR no\x1b")), []byte("0003"))
	f.Fuzz(func(t *testing.T, greeting, answer []byte) {
		r := &remote{t: canned{greeting, answer}, caps: map[string]string{}, format: 20}
		if err := r.greeted(bytes.NewReader(greeting)); err != nil {
			return
		}
		refs, err := r.refs(t.Context(), nil)
		for _, k := range refs {
			if len(k.id) != r.format {
				t.Errorf("%s is %s: %v", k.name, k.id, err)
			}
		}
		want, err := git.ParseID(id)
		must(t, err)
		pack, _, err := r.fetch(t.Context(), request{want: append(tips(refs), want), depth: 1})
		if err == nil {
			if n, _ := io.Copy(io.Discard, pack); n > int64(len(answer)) {
				t.Errorf("a pack of %d bytes in %d", n, len(answer))
			}
		}
	})
}
