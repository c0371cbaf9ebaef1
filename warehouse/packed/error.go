package packed

import (
	"errors"

	"github.com/kilnbuild/kiln/warehouse"
)

// An Error tells what a store was asked for, and what came of it.
type Error struct {
	Doing string // such as "fetch ware tree:… from"; "": who reads it knows
	Store string // URL without credentials
	Err   error
}

// Error names the store. Of what is not there it says why that is believed.
func (e *Error) Error() string {
	text := e.Store + ": "
	if e.Doing != "" {
		text = e.Doing + " " + text
	}
	missing := (*warehouse.MissingError)(nil)
	switch {
	case !errors.As(e.Err, &missing):
		return text + e.Err.Error()
	case missing.Reason == nil:
		return text + "it is not there"
	}
	return text + "it is not there: " + missing.Reason.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// about makes an Error of err, if it is one, and is about the store.
func (s *store) about(doing string, err error) error {
	if err == nil || errors.As(err, new(*warehouse.HereError)) {
		return err
	}
	return &Error{doing, s.String(), err}
}
