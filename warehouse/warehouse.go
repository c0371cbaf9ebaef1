// Package warehouse keeps wares and memos: on this machine filesets by ware id and what
// a step key produced by step key (Local, Memos), beyond it as a Store does, with one
// subpackage for each kind. It leaves hashing to package pack and knows nothing of
// formulas; only its subpackages know package pack.
package warehouse
