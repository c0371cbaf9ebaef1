package plan

import (
	"context"
	"net/url"
	"slices"
	"sync"

	"github.com/kilnbuild/kiln/internal/retry"
)

// turns knows which hosts are put off: they said nothing, or asked to be left alone.
type turns struct{ putOff sync.Map }

// take asks places for the same, one after the other, until ask reports that one has it,
// or ctx ends; then err is what ask returned. While there are others, none is waited for
// long: one that would have to be is put off, and asked again, patiently, when all others
// have failed. From then on its host comes last. failures is what each place came to that
// was asked and does not have it, in their order.
func (t *turns) take(ctx context.Context, places []string, ask func(ctx context.Context, i int) (has bool, err error)) (failures []error, has bool, err error) {
	said := make([]error, len(places))
	failed := func() []error { return slices.DeleteFunc(said, func(err error) bool { return err == nil }) }
	var first, later []int
	for i, place := range places {
		if _, known := t.putOff.Load(hostOf(place)); known {
			later = append(later, i)
		} else {
			first = append(first, i)
		}
	}
	for n, i := range first {
		quick := ctx
		if n < len(first)-1 || len(later) > 0 {
			quick = retry.Hurried(ctx)
		}
		has, err = ask(quick, i)
		if has || ctx.Err() != nil {
			return failed(), has, err
		}
		said[i] = err
		if retry.IsHurried(quick) && !retry.IsHurried(ctx) && retry.Later(err) {
			t.putOff.Store(hostOf(places[i]), true)
			later = append(later, i)
		}
	}
	for _, i := range later {
		has, err = ask(ctx, i)
		if has {
			t.putOff.Delete(hostOf(places[i]))
			said[i] = nil
		}
		if has || ctx.Err() != nil {
			return failed(), has, err
		}
		said[i] = err
	}
	return failed(), false, nil
}

// hostOf returns the scheme and the host of a place, or what else it is.
func hostOf(place string) string {
	u, err := url.Parse(place)
	if err != nil || u.Host == "" {
		return place
	}
	return u.Scheme + "://" + u.Host
}
