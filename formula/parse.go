package formula

import "github.com/hashicorp/hcl/v2"

// Parse parses src as HCL after checking that it is text and does not nest so deep
// that parsing it would overflow the stack. It is for the files beside a formula,
// such as its lock file; the file is never nil, so that diagnostics can be printed.
func Parse(src []byte, filename string) (*hcl.File, hcl.Diagnostics) {
	file, _, diags := parse(src, filename)
	return file, diags
}
