package formula

import (
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/kilnbuild/kiln/warehouse"
)

type wareBlock struct{ decl }

var sourceKinds = []string{"builtin", "path", "url", "git", "oci", "id", "text", "catalog"}

// belongsTo says which kinds of source an attribute of a ware block goes with.
var belongsTo = map[string][]string{
	"include": {"path", "git", "oci"}, "exclude": {"path", "git", "oci"},
	"sha256": {"url"}, "strip": {"url"},
	"ref": {"git"}, "subdir": {"git"}, "submodules": {"git"},
	"platform": {"oci"}, "addresses": {"id"},
}

// anySource is "builtin, path … and id".
func anySource() string {
	last := len(sourceKinds) - 1
	return strings.Join(sourceKinds[:last], ", ") + " and " + sourceKinds[last]
}

// ware evaluates a ware block.
func (m *module) ware(w *wareBlock) (*Ware, bool) {
	var exprs []hclsyntax.Expression
	for _, attr := range w.block.Body.Attributes {
		exprs = append(exprs, attr.Expr)
	}
	s := m.scope(w.around(), m.context(w.around(), false, exprs...))
	defer s.done()
	source, ok := s.source(w)
	if s.sensitive {
		s.problem(w.header(), "Sensitive ware source",
			"The source of %s is made from a sensitive value, and sources are written to the lock file and to the screen.", w.addr)
	}
	return &Ware{Addr: w.addr, Dir: m.dir, Source: source, Range: w.header()}, ok
}

func (s *scope) source(w *wareBlock) (Source, bool) {
	var kinds []*hclsyntax.Attribute
	for _, kind := range sourceKinds {
		if attr := w.attr(kind); attr != nil {
			kinds = append(kinds, attr)
		}
	}
	if len(kinds) == 0 {
		s.problem(w.header(), "Ware without a source", "%s needs exactly one of %s.", w.addr, anySource())
		return Source{}, false
	}
	slices.SortFunc(kinds, func(a, b *hclsyntax.Attribute) int { return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte })
	for _, other := range kinds[1:] {
		s.problem(other.NameRange, "Ware with two sources", "%s has the source %q already. Give it exactly one of %s.", w.addr, kinds[0].Name, anySource())
	}
	for name, of := range belongsTo {
		if attr := w.attr(name); attr != nil && !slices.ContainsFunc(kinds, func(k *hclsyntax.Attribute) bool { return slices.Contains(of, k.Name) }) {
			s.problem(attr.NameRange, "Attribute of another source", "The attribute %q goes with %s, and the source of %s is %q.", name, quoteAll(of), w.addr, kinds[0].Name)
		}
	}
	src := Source{Kind: SourceKind(kinds[0].Name), Range: kinds[0].SrcRange}
	text, ok := s.text(kinds[0].Expr, kinds[0].Name)
	if ok {
		ok = s.sourceText(&src, text, kinds[0].Expr.Range())
	}
	src.Include, src.Exclude = s.patterns(w.attr("include")), s.patterns(w.attr("exclude"))
	src.SHA256, src.Strip = s.sha256(w.attr("sha256")), s.strip(w.attr("strip"))
	s.gitAttributes(&src, w)
	src.Platform = s.platform(w.attr("platform"))
	src.Addresses = s.addresses(w.attr("addresses"))
	if attr := w.attr("filters"); attr != nil {
		src.Filters = s.filters(attr.Expr)
	}
	return src, ok
}

func (s *scope) sourceText(src *Source, text string, at hcl.Range) bool {
	if text == "" && src.Kind != SourceText {
		s.problem(at, "Empty source", "The %s of a ware is not empty.", src.Kind)
		return false
	}
	switch src.Kind {
	case SourceBuiltin:
		src.Builtin = text
	case SourcePath:
		src.Path = text
	case SourceURL:
		src.URL = text
		return s.checkURL(text, at)
	case SourceGit:
		src.Git = text
		return s.checkGit(text, at)
	case SourceOCI:
		src.OCI = text
		return s.checkOCI(text, at)
	case SourceText:
		src.Text = text
	case SourceCatalog:
		src.Catalog = text
		if !itemForm.MatchString(text) {
			s.problem(at, "Invalid catalog reference", "%s is no catalog reference, which is MODULE:RELEASE:ITEM, such as example.org/zlib:v1.2:amd64.", s.quote(text))
			return false
		}
	case SourceID:
		src.ID = text
		if _, err := warehouse.ParseWareID(text); err != nil {
			s.problem(at, "Invalid ware id", "%s is no ware id. A ware id is PACKTYPE:HASH, such as tree:3b0c…-82.", s.quote(text))
			return false
		}
	}
	return true
}

var urlSchemes = []string{"http", "https", "file"}

func (s *scope) checkURL(text string, at hcl.Range) bool {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme == "":
		s.problem(at, "Invalid URL", "%s is no URL. Write the whole of it, such as https://example.org/file.tar.gz.", s.quote(text))
	case !slices.Contains(urlSchemes, u.Scheme):
		s.problem(at, "Unsupported URL", "kiln fetches http, https and file URLs, and this one is %s.%s", s.quote(u.Scheme), didYouMean(u.Scheme, urlSchemes))
	case u.Scheme != "file" && u.Host == "":
		s.problem(at, "Invalid URL", "%s names no host.", s.quote(text))
	default:
		return true
	}
	return false
}

func (s *scope) patterns(attr *hclsyntax.Attribute) []string {
	if attr == nil {
		return nil
	}
	list := s.list(attr, false)
	texts, ats, ok := list.get(s)
	if !ok {
		return nil
	}
	for i, text := range texts {
		if !validPattern(text) {
			s.problem(ats[i], "Invalid pattern", "%s is no pattern: a bracket or a brace is not closed.", s.quote(text))
		}
	}
	return texts
}

// addresses reads a list of warehouse addresses.
func (s *scope) addresses(attr *hclsyntax.Attribute) []string {
	if attr == nil {
		return nil
	}
	list := s.list(attr, false)
	texts, ats, ok := list.get(s)
	if !ok {
		return nil
	}
	for i, text := range texts {
		if scheme, rest, ok := strings.Cut(text, "://"); !ok || scheme == "" || rest == "" {
			s.problem(ats[i], "Invalid address", "%s is no warehouse address, which is a URL such as ca+https://example.org/wares.", s.quote(text))
		}
	}
	return texts
}

func (s *scope) sha256(attr *hclsyntax.Attribute) string {
	if attr == nil {
		return ""
	}
	text, ok := s.text(attr.Expr, "sha256")
	if ok && !validDigest("sha256:"+strings.ToLower(text)) {
		s.problem(attr.Expr.Range(), "Invalid sha256", "%s is no SHA-256, which is 64 hexadecimal digits.", s.quote(text))
	}
	return strings.ToLower(text)
}

func (s *scope) strip(attr *hclsyntax.Attribute) int {
	if attr == nil {
		return 0
	}
	v, ok := s.value(attr.Expr, "strip")
	if !ok {
		return 0
	}
	if v.Type() == cty.Number {
		if n, _ := v.AsBigFloat().Int64(); v.AsBigFloat().IsInt() && n >= 0 && n <= 1000 {
			return int(n)
		}
	}
	s.problem(attr.Expr.Range(), "Invalid strip", "The attribute \"strip\" is a whole number of path components, 0 to 1000.")
	return 0
}

// filters reads a filter string; package pack knows what it means.
func (s *scope) filters(expr hclsyntax.Expression) string {
	v, ok := s.value(expr, "filters")
	if !ok {
		return ""
	}
	return s.filtersOf(v, expr.Range())
}

func (s *scope) filtersOf(v cty.Value, at hcl.Range) string {
	if v.IsNull() || v.Type() != cty.String {
		s.problem(at, "Wrong type", "Filters are a string such as \"uid=keep,mtime=keep\", and this is %s.", describe(v))
		return ""
	}
	text, _ := s.textOf(v, at, "filters")
	return text
}
