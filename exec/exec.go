// Package exec runs the steps of a plan, each in a container of its own, and
// turns what they leave behind into wares. It opens no connection: a ware that
// is not in the local warehouse is an error here.
package exec
