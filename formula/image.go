package formula

import (
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
)

// An Image says what container image an output becomes when it is exported as one.
type Image struct {
	Layers     []ImageLayer // the lowest first; empty: the output's value alone
	Platform   string       // "linux/arm64"; "": this machine's
	Entrypoint []string
	Cmd        []string
	Env        []EnvVar          // sorted by name
	Labels     map[string]string // nil if there are none
	User       string
	Workdir    string
	Expose     []string // "80/tcp"
	StopSignal string
	Range      hcl.Range // of the block's header
}

// An ImageLayer is a ware in an image.
type ImageLayer struct {
	From  Ref
	Path  string // absolute, clean; "/" unless set
	Range hcl.Range
}

var imageAttributes = []string{"layers", "platform", "entrypoint", "cmd", "env", "labels", "user", "workdir", "expose", "stop_signal"}

// image evaluates the image block of an output. It returns nil if there is none.
func (m *module) image(o *outputBlock) *Image {
	var block *hclsyntax.Block
	for _, b := range o.block.Body.Blocks {
		if b.Type != "image" {
			continue
		}
		if block != nil {
			m.l.report(problem(b.TypeRange, o.around(), "Two image blocks",
				"The output %q has an image block already, at line %d. Give a second image an output of its own.", o.name, block.TypeRange.Start.Line))
			continue
		}
		block = b
	}
	if block == nil {
		return nil
	}
	var exprs []hclsyntax.Expression
	for _, attr := range block.Body.Attributes {
		exprs = append(exprs, attr.Expr)
	}
	s := m.scope(block.Range(), m.context(block.Range(), false, exprs...))
	defer s.done()
	img := s.imageBody(block.Body.Attributes)
	img.Range = block.DefRange()
	if s.sensitive {
		s.problem(block.DefRange(), "Sensitive image",
			"The image of the output %q is made with a sensitive value, and whoever has an image can read all of it.", o.name)
	}
	return img
}

func (s *scope) imageBody(attrs hclsyntax.Attributes) *Image {
	img := &Image{}
	if attr := attrs["layers"]; attr != nil {
		img.Layers = s.layers(attr)
	}
	img.Entrypoint, img.Cmd, img.Expose = s.texts(attrs["entrypoint"]), s.texts(attrs["cmd"]), s.expose(attrs["expose"])
	for _, e := range s.textObject(attrs["env"], "Variable set twice") {
		if p := s.variablePort(e, e.key); p.ok {
			img.Env = append(img.Env, p.env)
		}
	}
	slices.SortFunc(img.Env, func(a, b EnvVar) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range s.textObject(attrs["labels"], "Duplicate name") {
		if text, ok := s.textOf(e.value, e.at, "the label "+s.quote(e.key)); ok {
			if img.Labels == nil {
				img.Labels = map[string]string{}
			}
			img.Labels[e.key] = text
		}
	}
	img.User = s.formed(attrs["user"], imageUser, "Invalid image user",
		"%s is no user of an image: a name or a number, and after a colon perhaps those of a group, such as \"1000:1000\".")
	img.StopSignal = s.formed(attrs["stop_signal"], stopSignal, "Invalid stop signal", "%s is no signal, such as \"SIGINT\" or \"2\".")
	img.Platform = s.platform(attrs["platform"])
	if attr := attrs["workdir"]; attr != nil {
		if text, ok := s.text(attr.Expr, "workdir"); ok {
			img.Workdir, _ = s.imagePath(text, attr.Expr.Range(), "Invalid workdir", "directory to work in, which is an absolute path in the image, such as \"/srv\"")
		}
	}
	return img
}

var (
	imageUser   = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`)
	stopSignal  = lazyregexp.New(`^(SIG[A-Z0-9+-]+|[0-9]{1,2})$`)
	exposedPort = lazyregexp.New(`^[0-9]{1,5}(/(tcp|udp|sctp))?$`)
)

// imagePath cleans a path in an image.
func (s *scope) imagePath(p string, at hcl.Range, summary, what string) (string, bool) {
	if !path.IsAbs(p) || slices.Contains(strings.Split(p, "/"), "..") {
		s.problem(at, summary, "%s is no %s.", s.quote(p), what)
		return "", false
	}
	return path.Clean(p), true
}

// formed reads a string of a form; detail takes it quoted.
func (s *scope) formed(attr *hclsyntax.Attribute, form *lazyregexp.Regexp, summary, detail string) string {
	if attr == nil {
		return ""
	}
	text, ok := s.text(attr.Expr, attr.Name)
	if ok && !form.MatchString(text) {
		s.problem(attr.Expr.Range(), summary, detail, s.quote(text))
	}
	return text
}

func (s *scope) texts(attr *hclsyntax.Attribute) []string {
	if attr == nil {
		return nil
	}
	list, _, _ := s.list(attr, false).get(s)
	return list
}

func (s *scope) expose(attr *hclsyntax.Attribute) []string {
	if attr == nil {
		return nil
	}
	list, ats, _ := s.list(attr, false).get(s)
	for i, text := range list {
		if !exposedPort.MatchString(text) {
			s.problem(ats[i], "Invalid exposed port", "%s is no port: a number, and perhaps a protocol, such as \"80\" or \"53/udp\".", s.quote(text))
		} else if !strings.Contains(text, "/") {
			list[i] = text + "/tcp"
		}
	}
	return list
}

// textObject evaluates an object entry by entry; twice is the summary for a key
// written twice.
func (s *scope) textObject(attr *hclsyntax.Attribute, twice string) []item {
	if attr == nil {
		return nil
	}
	cons, ok := attr.Expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		v, ok := s.value(attr.Expr, attr.Name)
		if !ok {
			return nil
		}
		items, _ := s.entries(v, attr.Expr.Range(), attr.Name)
		return items
	}
	var items []item
	for _, pair := range cons.Items {
		e, ok := s.pair(pair, attr.Name)
		if !ok {
			continue
		}
		if slices.ContainsFunc(items, func(other item) bool { return other.key == e.key }) {
			s.diags = append(s.diags, problem(e.keyAt, s.around, twice, "The attribute %q has %s already.", attr.Name, s.quote(e.key)))
			s.failed = true
			continue
		}
		items = append(items, e)
	}
	return items
}
