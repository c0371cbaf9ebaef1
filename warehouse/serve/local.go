package serve

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// A local is what this machine has, as clients of REAPI ask for it: contents by digest,
// wares and memos as the results of actions (docs/formats.md, "Wares and memos over
// REAPI"). Other kilns add to it and remove from it all the time.
type local struct {
	wares    *warehouse.Local
	memos    *warehouse.Memos // nil: none are offered
	index    *pack.Index
	promises promises

	looking chan struct{} // one may bring it up to date
	next    time.Time     // not before then
	stamps  []time.Time   // of the directories that change with it

	mu    sync.Mutex
	names map[keep.Sum]named // by action
	trees map[warehouse.WareID]tree
	wrong map[keep.Sum]time.Time // contents and wares (wareName) that turned out to be damaged: when
}

// named is what an action stands for: one of the two.
type named struct {
	ware warehouse.WareID
	memo warehouse.StepKey
}

// A tree is where the messages of a ware are.
type tree struct{ message, root remote.Digest }

func newLocal(wares *warehouse.Local, memos *warehouse.Memos) *local {
	return &local{
		wares: wares, memos: memos, index: pack.NewIndex(wares, 0),
		promises: promises{dir: wares.Dir(), last: promiseTime, open: map[*lease]bool{}},
		looking:  make(chan struct{}, 1),
		names:    map[keep.Sum]named{}, trees: map[warehouse.WareID]tree{}, wrong: map[keep.Sum]time.Time{},
	}
}

// refresh takes up what has changed since the last time: at once, unless that takes so
// long that it would be most of what the server does.
func (l *local) refresh(ctx context.Context) error {
	select {
	case l.looking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.looking }()
	begun := time.Now()
	if begun.Before(l.next) {
		return nil
	}
	stamps, settled := l.changed()
	if stamps == nil {
		return nil
	}
	err := l.name()
	if err == nil {
		err = l.index.Refresh(ctx)
	}
	if took := time.Since(begun); took > 10*time.Millisecond {
		l.next = time.Now().Add(10 * took)
	}
	if l.stamps = nil; err == nil && settled {
		l.stamps = stamps
	}
	return err
}

// grain is how far apart two changes of a directory are that have different times, at
// least: file systems and clocks have their own.
const grain = 100 * time.Millisecond

// changed returns when the directories of records and memos were changed, nil if that is
// what it was the last time, and whether that is so long ago that the next change has
// another time.
func (l *local) changed() (stamps []time.Time, settled bool) {
	dirs := []string{filepath.Join(l.wares.Dir(), "record")}
	for _, packtype := range packtypes {
		dirs = append(dirs, filepath.Join(dirs[0], packtype))
	}
	if l.memos != nil {
		dirs = append(dirs, l.memos.Dir())
	}
	stamps = make([]time.Time, len(dirs))
	settled = true
	for i, dir := range dirs {
		if info, err := os.Stat(dir); err == nil {
			stamps[i] = info.ModTime()
		}
		settled = settled && time.Since(stamps[i]) >= grain
	}
	if settled && slices.EqualFunc(stamps, l.stamps, time.Time.Equal) {
		return nil, true
	}
	return stamps, settled
}

// packtypes are those of wares that are offered. What others name is offered as the tree
// that it is.
var packtypes = []string{pack.Tree, pack.Tar, pack.Zip}

// name makes names anew.
func (l *local) name() error {
	ids, err := l.wares.Newest()
	if err != nil {
		return err
	}
	var keys []warehouse.StepKey
	if l.memos != nil {
		if keys, err = l.memos.Keys(); err != nil {
			return err
		}
	}
	names := make(map[keep.Sum]named, len(ids)+len(keys))
	for _, id := range ids {
		switch id.Packtype {
		case pack.Tree, pack.Tar, pack.Zip:
			names[sumOfAction(remote.WareAction(id))] = named{ware: id}
		}
	}
	for _, key := range keys {
		names[sumOfAction(remote.MemoAction(key))] = named{memo: key}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = names
	return nil
}

func sumOfAction(d remote.Digest) keep.Sum {
	sum, _ := keep.ParseSum(d.Hash) // made here, and none else
	return sum
}

// count returns how many wares and memos there are.
func (l *local) count() (wares, memos int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.names {
		if n.memo != "" {
			memos++
		} else {
			wares++
		}
	}
	return wares, memos
}

// find returns what an action stands for.
func (l *local) find(action keep.Sum) (named, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ok := l.names[action]
	return n, ok
}

// localAction returns the result of an action that stands for a ware or a memo of this
// machine.
func (s *Server) localAction(ctx context.Context, action remote.Digest) ([]byte, error) {
	sum, err := sumOf(action)
	if err != nil || s.local == nil {
		return nil, errors.Join(keep.ErrMissing, err)
	}
	s.look(ctx)
	n, ok := s.local.find(sum)
	if !ok {
		return nil, keep.ErrMissing
	}
	var result remote.ActionResult
	if n.memo != "" {
		err = s.memoResult(n.memo, &result)
	} else {
		err = s.wareResult(ctx, n.ware, &result)
	}
	if err != nil {
		return nil, err
	}
	return grpc.Marshal(&result), nil
}

// wareResult says where a ware is.
func (s *Server) wareResult(ctx context.Context, id warehouse.WareID, result *remote.ActionResult) error {
	if s.local.distrusts(wareName(id.Hash)) {
		return keep.ErrMissing
	}
	t, err := s.treeOf(ctx, id)
	if errors.Is(err, warehouse.ErrMissing) {
		return keep.ErrMissing
	}
	if err != nil {
		return damaged(err)
	}
	result.Directories = []remote.OutputDirectory{{Path: "ware", Tree: &t.message, Root: &t.root}}
	return nil
}

// treeOf returns where the messages of a ware are. Its Tree message is kept as if it had
// been handed in: it is in no fileset, and easily made again.
func (s *Server) treeOf(ctx context.Context, id warehouse.WareID) (tree, error) {
	rec, err := s.local.wares.Get(id)
	if err != nil {
		return tree{}, err
	}
	if !s.promise(id) {
		return tree{}, warehouse.ErrMissing
	}
	s.local.mu.Lock()
	t, known := s.local.trees[rec.Tree]
	s.local.mu.Unlock()
	if known {
		if there, _ := s.has(t.message); there {
			return t, nil
		}
	}
	files, err := pack.OpenFileset(ctx, s.local.wares, rec)
	if err != nil {
		return t, err
	}
	var whole remote.Tree
	root, message := files.RootMessage()
	t.root, whole.Root = remote.Digest{Hash: root.SHA256, Size: root.Size}, message
	for d, message := range files.Messages() {
		if d != root {
			whole.Children = append(whole.Children, message)
		}
	}
	slices.SortFunc(whole.Children, bytes.Compare) // a ware has one Tree message
	data := grpc.Marshal(&whole)
	t.message = remote.DigestOf(data)
	if err := s.keepBytes(t.message, data); err != nil {
		return t, err
	}
	s.local.mu.Lock()
	defer s.local.mu.Unlock()
	if len(s.local.trees) > 100_000 {
		clear(s.local.trees)
	}
	s.local.trees[rec.Tree] = t
	return t, nil
}

// maxInline is how large a memo may be that is part of its result, in bytes.
const maxInline = 1 << 20

func (s *Server) memoResult(key warehouse.StepKey, result *remote.ActionResult) error {
	sealed, err := s.localMemo(key)
	if err != nil {
		return err
	}
	if len(sealed) <= maxInline {
		result.Stdout = sealed
		return nil
	}
	d := remote.DigestOf(sealed)
	result.StdoutDigest = &d
	return s.keepBytes(d, sealed)
}

// hasLocal reports whether a fileset of this machine has the content, and has it stay for
// a while.
func (s *Server) hasLocal(sum keep.Sum) bool {
	if s.local == nil || s.local.distrusts(sum) {
		return false
	}
	id, ok := s.local.index.Where(sum.String())
	return ok && s.promise(id)
}

// distrustFor is how long what was found to be damaged is not looked at again: it may
// have been made anew.
const distrustFor = time.Hour

// distrust notes that a ware, and maybe content in it, is no longer what it was. Neither
// is offered then, so that it can be handed in.
func (l *local) distrust(sums ...keep.Sum) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, sum := range sums {
		l.wrong[sum] = time.Now()
	}
}

// distrusts reports whether content or a ware was found to be damaged.
func (l *local) distrusts(sum keep.Sum) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, wrong := l.wrong[sum]
	return wrong && time.Since(at) < distrustFor
}

// openLocal opens content of a fileset, which nobody has verified yet.
func (s *Server) openLocal(ctx context.Context, sum keep.Sum, size int64) (*content, error) {
	if !s.hasLocal(sum) {
		return nil, keep.ErrMissing
	}
	found, err := s.local.index.Find(ctx, sum.String())
	if errors.Is(err, warehouse.ErrMissing) {
		return nil, keep.ErrMissing
	}
	if err != nil {
		return nil, damaged(err)
	}
	if found.Message != nil {
		if size != anySize && size != int64(len(found.Message)) {
			return nil, keep.ErrMissing
		}
		return ofBytes(sum, found.Message), nil
	}
	if size != anySize && size != found.Entry.Size {
		return nil, keep.ErrMissing
	}
	wrong := func() { s.local.distrust(sum, wareName(found.Fileset.ID.Hash)) }
	f, err := found.Fileset.Reach(found.Entry)
	if err != nil && !s.local.wares.Exists(found.Fileset.ID) {
		return nil, keep.ErrMissing // removed meanwhile
	}
	if err != nil {
		wrong()
		return nil, damaged(err)
	}
	return &content{ReaderAt: f, size: found.Entry.Size, sum: sum, bad: wrong, close: f.Close}, nil
}
