// Package pack maps filesets to ware ids and packed wares, and back. It leaves
// where wares are kept to package warehouse and knows nothing of formulas.
package pack
