package formula

import (
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/zclconf/go-cty/cty"
)

var gitSchemes = []string{"http", "https", "ssh", "git", "file"}

// shortSSH matches [USER@]HOST:PATH, which git takes for ssh://[USER@]HOST/PATH.
var shortSSH = lazyregexp.New(`^([^-:/@][^:/@]*@)?[^-:/@][^:/@]*:([^-/:].*|/[^/].*)$`)

// IsGitURL tells the url of a git repository from a path: it has a scheme, or as
// "HOST:PATH" a colon before its first slash.
func IsGitURL(text string) bool {
	before, _, _ := strings.Cut(text, "/")
	return strings.Contains(before, ":")
}

// checkGit reports a repository that is none by its form.
func (s *scope) checkGit(text string, at hcl.Range) bool {
	if !IsGitURL(text) || shortSSH.MatchString(text) {
		return true
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || !strings.Contains(text, "://"):
		s.problem(at, "Invalid git URL", "%s is no URL. Write the whole of it, such as https://example.org/project.git.", s.quote(text))
	case !slices.Contains(gitSchemes, u.Scheme):
		s.problem(at, "Unsupported git URL", "kiln fetches from http, https, ssh, git and file URLs and from directories, and this one is %s.%s",
			s.quote(u.Scheme), didYouMean(u.Scheme, gitSchemes))
	case u.Scheme == "file" && (u.Host != "" && u.Host != "localhost" || !path.IsAbs(u.Path)):
		s.problem(at, "Invalid git URL", "A file URL has the form file:///absolute/path.")
	case u.Scheme != "file" && u.Host == "":
		s.problem(at, "Invalid git URL", "%s names no host.", s.quote(text))
	default:
		return true
	}
	return false
}

// noRef matches what cannot be in the name of a ref: git's own rules, which leave
// room for expressions such as HEAD~1.
var noRef = lazyregexp.New(`[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|[/.]$|\.lock(/|$)`)

// gitAttributes reads what goes with the source git.
func (s *scope) gitAttributes(src *Source, w *wareBlock) {
	if attr := w.attr("ref"); attr != nil {
		ref, ok := s.text(attr.Expr, "ref")
		if ok && (ref == "" || ref == "@" || noRef.MatchString(ref)) {
			s.problem(attr.Expr.Range(), "Invalid ref",
				"%s is no name of a branch, a tag or a commit. Expressions such as HEAD~1 are not read: name the commit.", s.quote(ref))
		}
		src.Ref = ref
	}
	if attr := w.attr("subdir"); attr != nil {
		dir, ok := s.text(attr.Expr, "subdir")
		if ok && (dir == "" || path.IsAbs(dir) || slices.Contains(strings.Split(dir, "/"), "..")) {
			s.problem(attr.Expr.Range(), "Invalid subdir", "%s is no path of a directory below the root of the repository.", s.quote(dir))
		} else if src.Subdir = path.Clean(dir); src.Subdir == "." {
			src.Subdir = ""
		}
	}
	if attr := w.attr("submodules"); attr != nil {
		v, ok := s.value(attr.Expr, "submodules")
		if ok && (v.IsNull() || v.Type() != cty.Bool) {
			s.problem(attr.Expr.Range(), "Wrong type", "The attribute \"submodules\" is true or false, and this is %s.", describe(v))
		} else if ok {
			src.NoSubmodules = v.False()
		}
	}
}
