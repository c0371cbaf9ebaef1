// Package warehouse keeps wares and memos on this machine: filesets by ware id,
// what a step key produced by step key. It leaves hashing to package pack and
// knows nothing of formulas.
package warehouse
