package packtest

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
)

// identity makes the same wares as whoever runs the test, as root of a user namespace
// that has one id, and of one that has 65,536, and expects the same ids.
func identity(t *testing.T, p Packtype) {
	if file := os.Getenv("KILN_PACKTEST_IDS"); file != "" {
		must(t, os.WriteFile(file, []byte(strings.Join(p.ids(t), "\n")), 0o644))
		return
	}
	want := p.ids(t)
	for name, enter := range map[string]func(*osexec.Cmd) string{
		"one id":   func(cmd *osexec.Cmd) string { oneID(cmd); return "" },
		"many ids": manyIDs,
	} {
		test := t.Name()
		t.Run(name, func(t *testing.T) {
			file := tempDir(t) + "/ids"
			child(t, test, name, func(cmd *osexec.Cmd) {
				cmd.Env = append(cmd.Env, "KILN_PACKTEST_IDS="+file)
				if why := enter(cmd); why != "" {
					t.Skip(why)
				}
			})
			data, err := os.ReadFile(file)
			must(t, err)
			if got := strings.Split(string(data), "\n"); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// ids makes wares in every way there is, and of an archive whose entries belong to
// many, and returns the ids.
func (p Packtype) ids(t *testing.T) []string {
	ctx := context.Background()
	var ids []string
	for _, filters := range []string{"", "uid=7,gid=8,mtime=keep", "uid=0,gid=0,mtime=@5,sticky=ignore"} {
		o := p.options(t, filters)
		for name, way := range p.ways() {
			l := Local(t, "")
			rec, err := way(t, ctx, l, o, sample()...)
			must(t, err)
			must(t, pack.Check(ctx, l, rec.ID))
			ids = append(ids, fmt.Sprint(name, " ", filters, ": ", rec.ID, " ", rec.Tree))
		}
	}
	if p.Encode != nil {
		var owned []Entry
		for i, id := range []int{0, 1, 999, 1000, 1001, 65534, 65535, 65536, 1 << 20} {
			owned = append(owned, File(fmt.Sprint("f", i), "").owner(id, 0), Dir(fmt.Sprint("d", i)).owner(0, id), Symlink(fmt.Sprint("l", i), "x").owner(id, id))
		}
		src := tempDir(t) + "/packed"
		p.Encode(t, src, owned...)
		l := Local(t, "")
		rec := p.unpack(t, l, src, p.options(t, keepAll))
		must(t, pack.Check(ctx, l, rec.ID))
		ids = append(ids, fmt.Sprint("owned: ", rec.ID, " ", rec.Tree))
	}
	slices.Sort(ids)
	return ids
}
