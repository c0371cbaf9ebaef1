package docker_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/moby/moby/client"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/warehouse"
)

// TestEngineKeepsFewRoots: the images of root wares that were used least recently go when others
// come, but not one that a container has.
func TestEngineKeepsFewRoots(t *testing.T) {
	under(t)
	b := newBench(t)
	busy, err := b.r.Submit(t.Context(), b.sh("while :; do sleep 1; done"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.r.Cancel(t.Context(), busy.ID)
	const most = 16
	var wares []warehouse.WareID
	use := func(ware warehouse.WareID) {
		if b.r, err = connect(b.dir); err != nil { // another kiln
			t.Fatal(err)
		}
		b.do(exec.JobSpec{Name: "root", Command: []string{"/nothing"}, Root: ware}) // it cannot be started, but has its image
	}
	for i := range most + 1 {
		wares = append(wares, b.ware(map[string]string{"number": fmt.Sprint(b.dir, i)}))
		if use(wares[i]); i > 0 {
			use(wares[0])
		}
	}
	there := func(ware warehouse.WareID) bool {
		rec, err := b.local.Get(ware)
		if err != nil {
			t.Fatal(err)
		}
		list, err := engine(t).ImageList(t.Context(), client.ImageListOptions{Filters: make(client.Filters).Add("reference", "localhost/kiln-root")})
		if err != nil {
			t.Fatal(err)
		}
		for _, image := range list.Items {
			if slices.Contains(image.RepoTags, "localhost/kiln-root:"+rec.Tree.Hash) {
				return true
			}
		}
		return false
	}
	if !there(b.root) {
		t.Error("the image of a run that goes on was removed")
	}
	for i, ware := range wares {
		if want := i == 0 || i > 1; there(ware) != want {
			t.Errorf("root %d of %d is there: %v", i, len(wares), !want)
		}
	}
	// One that was removed comes again, also when somebody else removes it.
	use(wares[1])
	rec, _ := b.local.Get(wares[1])
	if _, err := engine(t).ImageRemove(t.Context(), "localhost/kiln-root:"+rec.Tree.Hash, client.ImageRemoveOptions{}); err != nil {
		t.Error(err)
	}
	if use(wares[1]); !there(wares[1]) {
		t.Error("it did not come again")
	}
}
