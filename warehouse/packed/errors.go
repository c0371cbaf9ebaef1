package packed

import (
	"errors"
	"time"
)

// Final marks an error of a place that trying again cannot change. One that matches
// warehouse.ErrMissing or ErrReadOnly is final as it is.
func Final(err error) error { return finalError{err} }

type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// Later marks an error of a place that said how long to wait before trying again.
func Later(err error, after time.Duration) error { return laterError{err, after} }

type laterError struct {
	error
	after time.Duration
}

func (e laterError) Unwrap() error { return e.error }

// isFinal reports whether err was marked by Final.
func isFinal(err error) bool {
	var final finalError
	return errors.As(err, &final)
}
