// Package runners carries the programs that speak the protocol of docs/functions.md
// inside a container, for functions in Python and in Node. Functions in Go use
// package runners/go.
package runners

import _ "embed"

// The programs. Each is given the path of the person's module as its argument.
var (
	//go:embed python/runner.py
	Python string // python3 runner.py MODULE.py; calls execute_function(input)
	//go:embed node/runner.mjs
	Node string // node runner.mjs MODULE; calls executeFunction(input), which may be async
)
