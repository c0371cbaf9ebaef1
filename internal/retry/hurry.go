package retry

import (
	"context"
	"errors"
	"time"
)

const (
	// HurriedStall is how long a connection may be silent in a hurry: longer than what a
	// loaded server or a lost packet costs.
	HurriedStall = 15 * time.Second
	// hurriedWait is how long a server may ask to wait in a hurry.
	hurriedWait = 5 * time.Second
)

type hurriedKey struct{}

// Hurried returns a context for asking one place of several for what any of them may
// have. In it, Do returns when a server asks to wait for long, and a Guard ends requests
// sooner.
func Hurried(ctx context.Context) context.Context {
	return context.WithValue(ctx, hurriedKey{}, true)
}

// IsHurried reports whether ctx is one of Hurried.
func IsHurried(ctx context.Context) bool { return ctx.Value(hurriedKey{}) != nil }

// Later reports whether err is of a server that said nothing, or asked to wait for long:
// when no other place has what it was asked for, it may be asked again.
func Later(err error) bool {
	var asked afterError
	return errors.As(err, new(silentError)) || errors.As(err, &asked) && asked.after > hurriedWait
}

// Silent marks err as of a server that said nothing for long.
func Silent(err error) error { return silentError{err} }
