package reapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"golang.org/x/sync/errgroup"
)

// Put uploads what the server lacks of a ware: its files, its Directory messages, and all
// of those in one Tree message; and last the action result that says where it is,
// without which nobody takes the ware for whole.
func (s *store) Put(ctx context.Context, rec warehouse.Record, local *warehouse.Local, o warehouse.Transfer) error {
	if rec.Alias {
		rec.ID = rec.Tree
	}
	if err := s.put(ctx, rec, local, o); errors.As(err, new(*warehouse.HereError)) {
		return err
	} else if err != nil {
		return fmt.Errorf("put ware %s into %s: %w", rec.ID, s, err)
	}
	return nil
}

func (s *store) put(ctx context.Context, rec warehouse.Record, local *warehouse.Local, o warehouse.Transfer) error {
	if err := check(rec.ID); err != nil {
		return err
	}
	_, err := s.tree(ctx, rec.ID)
	if !errors.Is(err, warehouse.ErrMissing) {
		return err // it is there, or nobody can tell
	}
	able, err := s.abilities(ctx)
	if err != nil {
		return err
	}
	if able.readOnly {
		return fmt.Errorf("%w: it takes no action results", warehouse.ErrReadOnly)
	}
	u, err := newUpload(ctx, s, able, rec, local, o)
	if err != nil {
		return &warehouse.HereError{Dir: local.Dir(), Err: err}
	}
	// The server may have lost something since it was asked for it. If it can tell, it
	// does so now.
	for range 2 {
		if err := u.run(ctx); err != nil {
			return err
		}
		if _, err = s.tree(ctx, rec.ID); !errors.Is(err, warehouse.ErrMissing) {
			return err
		}
	}
	return fmt.Errorf("the server lost a part of it while it was put: it may have too little room (%w)", err)
}

// An upload is a ware on its way to a server.
type upload struct {
	s     *store
	able  abilities
	id    warehouse.WareID
	from  *pack.Fileset
	dir   string                      // of the local warehouse
	files map[string]pack.ListedEntry // by SHA-256: where one with that content is
	all   []remote.Digest             // of contents
	msgs  map[remote.Digest][]byte    // Directory messages, and the Tree message
	tree  tree
	count *counter
}

func newUpload(ctx context.Context, s *store, able abilities, rec warehouse.Record, local *warehouse.Local, o warehouse.Transfer) (*upload, error) {
	u := &upload{s: s, able: able, id: rec.ID, dir: local.Dir(), files: map[string]pack.ListedEntry{}, msgs: map[remote.Digest][]byte{}, count: &counter{tell: o.Progress}}
	var err error
	if u.from, err = pack.OpenFileset(ctx, local, rec); err != nil {
		return nil, err
	}
	root, err := u.from.Root()
	if err != nil {
		return nil, err
	}
	for e, err := range u.from.Below(root) {
		if err != nil {
			return nil, err
		}
		if _, known := u.files[e.SHA256]; e.Kind == pack.KindFile && e.Size > 0 && !known {
			u.files[e.SHA256] = e
			u.all = append(u.all, remote.Digest{Hash: e.SHA256, Size: e.Size})
		}
	}
	u.messages()
	return u, nil
}

// messages collects what says how the files are a ware.
func (u *upload) messages() {
	rootDigest, root := u.from.RootMessage()
	u.tree.root = digest(rootDigest)
	for d, msg := range u.from.Messages() {
		u.msgs[digest(d)] = msg
	}
	whole := remote.Tree{Root: root}
	for _, d := range sorted(u.msgs) {
		if d != u.tree.root {
			whole.Children = append(whole.Children, u.msgs[d])
		}
	}
	message := grpc.Marshal(&whole)
	u.tree.message = remote.DigestOf(message)
	u.msgs[u.tree.message] = message
	u.all = append(u.all, sorted(u.msgs)...)
}

// run uploads what is missing.
func (u *upload) run(ctx context.Context) error {
	missing, err := u.s.findMissing(ctx, u.all)
	if err != nil {
		return err
	}
	var wanted []remote.Digest
	for _, d := range u.all {
		if missing[d] {
			wanted = append(wanted, d)
			u.count.add(d.Size)
		}
	}
	if err := u.send(ctx, wanted); err != nil {
		return err
	}
	result := &remote.ActionResult{Directories: []remote.OutputDirectory{{Path: wareName, Tree: &u.tree.message, Root: &u.tree.root}}}
	return u.s.setResult(ctx, remote.WareAction(u.id), result)
}

// sending is how many calls with contents are under way at a time.
const sending = 6

// send uploads contents, small ones in batches.
func (u *upload) send(ctx context.Context, digests []remote.Digest) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sending)
	for batch := range batches(digests, u.able.batch) {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if len(batch) == 1 && batch[0].Size > u.able.batch {
				c, err := u.open(ctx, batch[0])
				if err != nil {
					return err
				}
				defer c.Close()
				return u.s.writeStream(ctx, u.able, batch[0], c, u.count)
			}
			contents := make([][]byte, len(batch))
			for i, d := range batch {
				data, err := readAll(ctx, d, u.open)
				if err != nil {
					return err
				}
				contents[i] = data
			}
			return u.s.writeBatch(ctx, u.able, batch, contents, u.count)
		})
	}
	return g.Wait()
}

// open opens a content: a message, or a file that was read and found right.
func (u *upload) open(ctx context.Context, d remote.Digest) (content, error) {
	if msg, ok := u.msgs[d]; ok {
		return newMemory(msg), nil
	}
	c, err := u.from.Open(ctx, u.files[d.Hash])
	if err != nil {
		return nil, &warehouse.HereError{Dir: u.dir, Err: err}
	}
	return c, nil
}

// uploadBytes uploads one content from memory.
func (s *store) uploadBytes(ctx context.Context, d remote.Digest, data []byte) error {
	able, err := s.abilities(ctx)
	if err != nil {
		return err
	}
	if d.Size > able.batch {
		return s.writeStream(ctx, able, d, newMemory(data), nil)
	}
	return s.writeBatch(ctx, able, []remote.Digest{d}, [][]byte{data}, nil)
}
