// Package packed keeps wares where bytes can be kept by name: each travels as one
// deterministic archive, which is unpacked and verified on its way into the local
// warehouse. Where the bytes lie is the business of an Objects, of which file, http, s3
// and oci beside this package have one each.
package packed
