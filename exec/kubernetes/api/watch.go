package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

// A Sink takes in what a collection has. It is called by one goroutine.
type Sink[T any] interface {
	Replace(all []T) // what there is now, and nothing else
	Put(T)           // is new, or has changed
	Drop(T)          // is gone
}

// Follow tells sink what is in a collection and how it changes, until ctx ends. It watches,
// resumes where a watch was cut off, and lists again when the server no longer knows that
// place. A server that is away is waited for. The error is the server's, if it
// refuses.
func Follow[T any](ctx context.Context, c *Client, path string, query url.Values, sink Sink[T]) error {
	f := follower[T]{c: c, path: path, query: query, sink: sink}
	for failures := 0; ; {
		err := f.round(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if c.refuses(err) {
			return fmt.Errorf("watch %s: %w", path, err)
		}
		if failures++; err == nil || f.moved {
			failures, f.moved = 0, false
		}
		pause := min(50*time.Millisecond<<min(failures, 10), 10*time.Second)
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// List tells sink what is in a collection, once.
func List[T any](ctx context.Context, c *Client, path string, query url.Values, sink Sink[T]) error {
	var list list[T]
	err := c.Get(ctx, path, query, &list)
	if err == nil {
		sink.Replace(list.Items)
	}
	return err
}

// A list is a collection as it is read.
type list[T any] struct {
	Metadata struct{ ResourceVersion string }
	Items    []T
}

type follower[T any] struct {
	c     *Client
	path  string
	query url.Values
	sink  Sink[T]
	at    string // the resource version that the sink has seen; "": list first
	moved bool   // something has come since the last failure
}

var errGone = errors.New("the server no longer knows what came after the last event")

// round lists if it has to, and watches until the watch ends.
func (f *follower[T]) round(ctx context.Context) error {
	if f.at == "" {
		var list list[T]
		if err := f.c.Try(ctx, f.path, f.query, &list); err != nil {
			return err
		}
		f.sink.Replace(list.Items)
		f.at, f.moved = list.Metadata.ResourceVersion, true
	}
	err := f.watch(ctx)
	if errors.Is(err, errGone) || Is(err, http.StatusGone) {
		f.at = ""
	}
	return err
}

func (f *follower[T]) watch(ctx context.Context) error {
	query := url.Values{"watch": {"1"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {f.at}}
	for name, values := range f.query {
		query[name] = values
	}
	body, err := f.c.Stream(ctx, f.path, query)
	if err != nil {
		return err
	}
	defer body.Close()
	events := json.NewDecoder(body)
	for {
		var event struct {
			Type   string
			Object json.RawMessage
		}
		if err := events.Decode(&event); err != nil {
			f.c.away()
			return nil // cut off, or the server's own time is up: resumed
		}
		if err := f.take(event.Type, event.Object); err != nil {
			return err
		}
		f.moved = true
	}
}

// take takes in one event of a watch.
func (f *follower[T]) take(kind string, text json.RawMessage) error {
	if kind == "ERROR" {
		var status struct {
			Code    int
			Message string
		}
		if err := json.Unmarshal(text, &status); err != nil || status.Code == http.StatusGone {
			return errGone
		}
		return &Error{Code: status.Code, Message: status.Message}
	}
	var version struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return err
	}
	if kind != "BOOKMARK" {
		var object T
		if err := json.Unmarshal(text, &object); err != nil {
			return err
		}
		if kind == "DELETED" {
			f.sink.Drop(object)
		} else {
			f.sink.Put(object)
		}
	}
	f.at = version.Metadata.ResourceVersion
	return nil
}
