package warpforge

import (
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/base58"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/kilnbuild/kiln/warehouse"
)

// label checks the name of a step or of something in a plot, which pipes have to be
// able to name.
func (r *reader) label(name Text, what string) {
	bad := func(c rune) bool { return c == ':' || unicode.IsSpace(c) || !unicode.IsPrint(c) }
	switch {
	case name.Value == "":
		r.report(name.Range, "Invalid name", "The name of a %s is not empty.", what)
	case strings.ContainsFunc(name.Value, bad):
		r.report(name.Range, "Invalid name", "%s cannot name a %s: a pipe to it could not be written with colons, spaces or what cannot be printed.", quote(name.Value), what)
	}
}

// Limits of module names: those of host names, RFC 1123.
const (
	maxHost  = 253
	maxLabel = 63
)

var (
	moduleChars = lazyregexp.New(`^[a-z0-9./-]*$`)
	segmentForm = lazyregexp.New(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
)

// moduleName reports what is wrong with a module's name.
func (r *reader) moduleName(name Text) bool {
	why := moduleNameProblem(name.Value)
	if why != "" {
		r.report(name.Range, "Invalid module name", "%s cannot name a module: %s.", quote(name.Value), why)
	}
	return why == ""
}

// ModuleName returns why name cannot be a module's, or "".
func moduleNameProblem(name string) string {
	segments := strings.Split(name, "/")
	labels := strings.Split(segments[0], ".")
	switch {
	case name == "":
		return "it is empty"
	case !moduleChars.MatchString(name):
		return "it may only have the characters a-z, 0-9, '-', '.' and '/'"
	case len(segments[0]) > maxHost:
		return "what comes before the first slash may have 253 characters"
	}
	for _, segment := range segments {
		if !segmentForm.MatchString(segment) {
			return "each part between slashes begins and ends with a letter or a digit"
		}
	}
	for _, label := range labels {
		switch {
		case len(label) > maxLabel:
			return "each part of the domain may have 63 characters"
		case !segmentForm.MatchString(label):
			return "each part of the domain begins and ends with a letter or a digit"
		}
	}
	return ""
}

// wareID checks a ware id. A hash that cannot be one is only a warning: warpforge
// takes any, and such a ware is never found.
func (r *reader) wareID(text string, at hcl.Range) bool {
	id, err := warehouse.ParseWareID(text)
	if err != nil {
		r.report(at, "Invalid ware id", "%s is no ware id, which is PACKTYPE:HASH, such as tar:4z9DCT….", quote(text))
		return false
	}
	var problem string
	switch id.Packtype {
	case "tar", "zip":
		if sum, ok := base58.Decode(id.Hash); !ok || len(sum) != 48 {
			problem = "the hash of a " + id.Packtype + " ware is 48 bytes in base58"
		}
	case "git":
		if !isCommit(id.Hash) {
			problem = "the hash of a git ware is a commit, in hexadecimal digits"
		}
	case "tree", "oci":
	default:
		problem = "kiln knows the packtypes tar, zip, git, oci and tree." + formula.DidYouMean(id.Packtype, []string{"tar", "zip", "git", "oci", "tree"})
		problem = strings.TrimSuffix(problem, ".")
	}
	if problem != "" {
		r.diags = append(r.diags, warning(at, "Unlikely ware id", "No ware can have the id %s: %s.", quote(text), problem))
	}
	return true
}

func isCommit(hash string) bool {
	return (len(hash) == 40 || len(hash) == 64) && strings.Trim(hash, "0123456789abcdef") == ""
}

var addrSchemes = []string{"file", "ca+file", "http", "ca+http", "https", "ca+https", "ca+s3", "git", "ssh"}

// warehouseAddr warns of an address that kiln cannot fetch from.
func (r *reader) warehouseAddr(addr Text) {
	scheme, rest, ok := strings.Cut(addr.Value, "://")
	for _, known := range addrSchemes {
		if ok && scheme == known && rest != "" {
			return
		}
	}
	r.diags = append(r.diags, warning(addr.Range, "Unknown warehouse address", "kiln cannot fetch from %s: an address is a URL with one of the schemes %s.%s",
		quote(addr.Value), strings.Join(addrSchemes, ", "), formula.DidYouMean(scheme, addrSchemes)))
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
