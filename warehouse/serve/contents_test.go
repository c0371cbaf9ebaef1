package serve

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// update hands contents in as a batch and returns what became of each.
func update(t testing.TB, c *grpc.Conn, blobs ...remote.BlobUpdate) []grpc.Code {
	t.Helper()
	var resp remote.BatchUpdateBlobsResponse
	must(t, c.Call(t.Context(), remote.BatchUpdateBlobs, &remote.BatchUpdateBlobsRequest{Blobs: blobs}, &resp))
	var codes []grpc.Code
	for _, b := range resp.Blobs {
		codes = append(codes, grpc.CodeOf(b.Status.Err()))
	}
	return codes
}

func blob(data []byte) remote.BlobUpdate {
	return remote.BlobUpdate{Digest: remote.DigestOf(data), Data: data}
}

// putAll hands contents in and returns their digests.
func putAll(t testing.TB, c *grpc.Conn, contents ...[]byte) (digests []*remote.Digest) {
	t.Helper()
	for _, data := range contents {
		if codes := update(t, c, blob(data)); codes[0] != grpc.OK {
			t.Fatalf("handing in %d bytes: %v", len(data), codes)
		}
		d := remote.DigestOf(data)
		digests = append(digests, &d)
	}
	return digests
}

func TestBatches(t *testing.T) {
	s := start(t, Options{})
	c := s.dial(t)
	good, zipped := []byte("good"), bytes.Repeat([]byte("zeros "), 1000)
	wrong := blob([]byte("wrong"))
	wrong.Digest.Hash = remote.DigestOf([]byte("another")).Hash
	short := blob([]byte("short"))
	short.Digest.Size++
	packed := remote.BlobUpdate{Digest: remote.DigestOf(zipped), Data: zstdOf(t, zipped), Compressor: remote.Zstd}
	garbage := packed
	garbage.Data = []byte("garbage")
	bomb := remote.BlobUpdate{Digest: remote.Digest{Hash: packed.Digest.Hash, Size: 10}, Data: packed.Data, Compressor: remote.Zstd}
	brotli := blob(good)
	brotli.Compressor = 3
	noHash := remote.BlobUpdate{Digest: remote.Digest{Hash: "../../../etc/passwd"}}
	got := update(t, c, wrong, short, garbage, bomb, brotli, noHash, blob(good), packed, blob(good), blob(nil))
	want := []grpc.Code{3, 3, 3, 3, 3, 3, 0, 0, 0, 0}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	missing := remote.DigestOf([]byte("missing"))
	lying := remote.Digest{Hash: remote.DigestOf(good).Hash, Size: 5}
	ask := []remote.Digest{missing, remote.DigestOf(good), remote.DigestOf(nil), packed.Digest, wrong.Digest, lying}
	var found remote.FindMissingBlobsResponse
	must(t, c.Call(t.Context(), remote.FindMissingBlobs, &remote.FindMissingBlobsRequest{Digests: ask}, &found))
	if want := []remote.Digest{missing, wrong.Digest, lying}; !slices.Equal(found.Missing, want) {
		t.Errorf("missing %v, want %v", found.Missing, want)
	}
	var read remote.BatchReadBlobsResponse
	must(t, c.Call(t.Context(), remote.BatchReadBlobs, &remote.BatchReadBlobsRequest{Digests: ask}, &read))
	for i, want := range []struct {
		code grpc.Code
		data []byte
	}{{grpc.NotFound, nil}, {grpc.OK, good}, {grpc.OK, nil}, {grpc.OK, zipped}, {grpc.NotFound, nil}, {grpc.NotFound, nil}} {
		b := read.Blobs[i]
		if grpc.CodeOf(b.Status.Err()) != want.code || !bytes.Equal(b.Data, want.data) || b.Digest != ask[i] {
			t.Errorf("%d: read %d bytes, %v, want %d, %v", i, len(b.Data), b.Status, len(want.data), want.code)
		}
	}
}

func TestBatchLimits(t *testing.T) {
	s := start(t, Options{})
	c := s.dial(t)
	huge := remote.Digest{Hash: remote.DigestOf([]byte("x")).Hash, Size: 1<<63 - 1}
	is(t, c.Call(t.Context(), remote.BatchUpdateBlobs, &remote.BatchUpdateBlobsRequest{
		Blobs: []remote.BlobUpdate{{Digest: huge}, {Digest: huge}}}, new(remote.BatchUpdateBlobsResponse)), grpc.InvalidArgument)
	is(t, c.Call(t.Context(), remote.BatchReadBlobs, &remote.BatchReadBlobsRequest{
		Digests: []remote.Digest{huge, huge}}, new(remote.BatchReadBlobsResponse)), grpc.InvalidArgument)
	is(t, c.Call(t.Context(), remote.BatchUpdateBlobs, &remote.BatchUpdateBlobsRequest{
		Blobs: []remote.BlobUpdate{blob(noise(t, 5<<20))}}, new(remote.BatchUpdateBlobsResponse)), grpc.ResourceExhausted)
	for _, f := range []remote.DigestFunction{2, 9} {
		is(t, c.Call(t.Context(), remote.FindMissingBlobs, &remote.FindMissingBlobsRequest{Function: f}, new(remote.FindMissingBlobsResponse)), grpc.InvalidArgument)
	}
	negative := []remote.Digest{{Hash: huge.Hash, Size: -1}}
	is(t, c.Call(t.Context(), remote.FindMissingBlobs, &remote.FindMissingBlobsRequest{Digests: negative}, new(remote.FindMissingBlobsResponse)), grpc.InvalidArgument)
	// A full batch goes.
	var all []remote.BlobUpdate
	for range 8 {
		all = append(all, blob(noise(t, maxBatch/8)))
	}
	for _, code := range update(t, c, all...) {
		if code != grpc.OK {
			t.Errorf("a full batch: %v", code)
		}
	}
}

// directory makes a Directory message.
func directory(files, dirs map[string]*remote.Digest) []byte {
	var d remote.Directory
	for name, digest := range files {
		d.Files = append(d.Files, remote.Node{Name: name, Digest: digest})
	}
	for name, digest := range dirs {
		d.Directories = append(d.Directories, remote.Node{Name: name, Digest: digest})
	}
	return grpc.Marshal(&d)
}

func getTree(t testing.TB, c *grpc.Conn, r remote.GetTreeRequest) (all [][]byte, pages int, err error) {
	s := c.Stream(t.Context(), remote.GetTree)
	defer s.Close()
	must(t, s.Send(&r))
	must(t, s.CloseSend())
	for {
		var page remote.GetTreeResponse
		if err = s.Receive(&page); err != nil {
			if err.Error() == "EOF" {
				err = nil
			}
			return all, pages, err
		}
		all, pages = append(all, page.Directories...), pages+1
	}
}

// TestGetTree: each message once, also of a tree that holds one many times over.
func TestGetTree(t *testing.T) {
	s := start(t, Options{})
	c := s.dial(t)
	file := putAll(t, c, []byte("file"))[0]
	level := directory(map[string]*remote.Digest{"f": file}, nil)
	want := [][]byte{level}
	for range 40 { // 2^40 directories, if one counted them
		d := putAll(t, c, level)[0]
		level = directory(nil, map[string]*remote.Digest{"a": d, "b": d})
		want = append(want, level)
	}
	root := putAll(t, c, level)[0]
	slices.Reverse(want)
	for _, size := range []int32{0, 7, -1} {
		got, pages, err := getTree(t, c, remote.GetTreeRequest{Root: *root, PageSize: size})
		if err != nil || !slices.EqualFunc(got, want, bytes.Equal) || size == 7 && pages != 6 {
			t.Errorf("page size %d: %d messages of %d on %d pages, %v", size, len(got), len(want), pages, err)
		}
	}
	_, _, err := getTree(t, c, remote.GetTreeRequest{Root: remote.DigestOf([]byte("missing"))})
	is(t, err, grpc.NotFound)
	_, _, err = getTree(t, c, remote.GetTreeRequest{Root: *root, PageToken: "x"})
	is(t, err, grpc.InvalidArgument)
	_, _, err = getTree(t, c, remote.GetTreeRequest{Root: *file})
	is(t, err, grpc.InvalidArgument)
}

// TestComplete: a result is given only when all it refers to is there.
func TestComplete(t *testing.T) {
	s := start(t, Options{})
	c := s.dial(t)
	gone := remote.DigestOf([]byte("never handed in"))
	here := putAll(t, c, []byte("here"))[0]
	leaf := directory(map[string]*remote.Digest{"f": here}, nil)
	leafDigest := putAll(t, c, leaf)[0]
	broken := directory(map[string]*remote.Digest{"f": &gone}, nil)
	brokenDigest := putAll(t, c, broken)[0]
	root := directory(nil, map[string]*remote.Digest{"d": leafDigest})
	tree := func(root []byte, children ...[]byte) *remote.Digest {
		return putAll(t, c, grpc.Marshal(&remote.Tree{Root: root, Children: children}))[0]
	}
	dir := func(tree, root *remote.Digest) []remote.OutputDirectory {
		return []remote.OutputDirectory{{Path: "out", Tree: tree, Root: root}}
	}
	rootDigest := putAll(t, c, root)[0]
	for i, x := range []struct {
		result remote.ActionResult
		there  bool
	}{
		{remote.ActionResult{}, true},
		{remote.ActionResult{ExitCode: 1, Stdout: []byte("out")}, true},
		{remote.ActionResult{StdoutDigest: here, StderrDigest: here}, true},
		{remote.ActionResult{StdoutDigest: &gone}, false},
		{remote.ActionResult{StderrDigest: &gone}, false},
		{remote.ActionResult{Files: []remote.OutputFile{{Path: "a", Digest: here}, {Path: "b", Digest: &gone}}}, false},
		{remote.ActionResult{Directories: dir(tree(root, leaf), rootDigest)}, true},
		{remote.ActionResult{Directories: dir(tree(root, broken), nil)}, false},
		{remote.ActionResult{Directories: dir(tree(broken), nil)}, false},
		{remote.ActionResult{Directories: dir(&gone, nil)}, false},
		{remote.ActionResult{Directories: dir(here, nil)}, false},
		{remote.ActionResult{Directories: dir(nil, &gone)}, false},
		{remote.ActionResult{Directories: dir(nil, brokenDigest)}, false},
	} {
		action := remote.DigestOf(fmt.Appendf(nil, "action %d", i))
		result := grpc.Marshal(&x.result)
		var echo remote.Raw
		must(t, c.Call(t.Context(), remote.UpdateActionResult, &remote.UpdateActionResultRequest{Action: action, Result: result}, &echo))
		var got remote.Raw
		err := c.Call(t.Context(), remote.GetActionResult, &remote.GetActionResultRequest{Action: action}, &got)
		code, body := s.web(t, "GET", "/ac/"+action.Hash, "", nil)
		switch {
		case !x.there:
			is(t, err, grpc.NotFound)
			if code != 404 {
				t.Errorf("%d: over HTTP %d", i, code)
			}
		case err != nil || !bytes.Equal(got, result) || code != 200 || body != string(result):
			t.Errorf("%d: %v; over HTTP %d", i, err, code)
		}
	}
}

// TestInstances do not see each other's results, whatever they are called.
func TestInstances(t *testing.T) {
	s := start(t, Options{})
	c := s.dial(t)
	action := remote.DigestOf([]byte("action"))
	names := []string{"", "a", "a/b", "../../../../tmp", "a\x00b", strings.Repeat("x", 5000), "/", "ac"}
	for i, name := range names {
		result := grpc.Marshal(&remote.ActionResult{ExitCode: int32(i + 1)})
		must(t, c.Call(t.Context(), remote.UpdateActionResult, &remote.UpdateActionResultRequest{Instance: name, Action: action, Result: result}, new(remote.Raw)))
	}
	for i, name := range names {
		var got remote.ActionResult
		err := c.Call(t.Context(), remote.GetActionResult, &remote.GetActionResultRequest{Instance: name, Action: action}, &got)
		if err != nil || got.ExitCode != int32(i+1) {
			t.Errorf("%.20q: %d, %v", name, got.ExitCode, err)
		}
	}
	is(t, c.Call(t.Context(), remote.UpdateActionResult, &remote.UpdateActionResultRequest{Action: action, Result: []byte("\xffnone")}, new(remote.Raw)), grpc.InvalidArgument)
}
