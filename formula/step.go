package formula

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/zclconf/go-cty/cty"
)

type stepBlock struct {
	decl
	keysNode     node // of for_each
	namesNode    node // of the names of the outputs
	eachKeys     instanceKeys
	keysKnown    bool
	outputList   []string
	namesUnknown bool
	whole        cty.Value
}

// stepFields is a step block ready to make instances from: what does not depend on
// `each` is decoded already, and shared by all of them.
type stepFields struct {
	inputs    []field[port]
	wholeIn   *field[[]port]
	env       []field[port]
	wholeEnv  *field[[]port]
	exec      *listField
	execAt    []hcl.Range
	script    *listField
	interp    *listField
	outputs   []field[outputEntry]
	wholeOut  *field[[]outputEntry]
	timeout   field[time.Duration]
	cwd       field[string]
	user      field[string]
	network   field[bool]
	echo      field[bool]
	onError   field[bool] // go on
	resources field[Resources]
	runner    field[string]
	dependsOn []string
}

// port is one entry of inputs or env: a mounted ware or a variable.
type port struct {
	input Input  // when env.Name is empty
	env   EnvVar // of $NAME
	at    hcl.Range
	ok    bool
}

// fields decodes the parts of a step block in s, its block's scope.
func (s *scope) fields(b *stepBlock) *stepFields {
	f := &stepFields{}
	f.inputs, f.wholeIn = s.object(b.attr("inputs"), "inputs", s.inputPort)
	f.env, f.wholeEnv = s.object(b.attr("env"), "env", s.envPort)
	s.action(f, b)
	f.outputs, f.wholeOut = s.outputFields(b.attr("outputs"))
	f.timeout = textField(s, b.attr("timeout"), time.Duration(0), (*scope).timeout)
	f.cwd = textField(s, b.attr("cwd"), "/", (*scope).cwd)
	f.user = textField(s, b.attr("user"), "0:0", (*scope).user)
	f.network, f.echo = s.flag(b.attr("network")), s.flag(b.attr("echo"))
	f.onError = textField(s, b.attr("on_error"), false, (*scope).onError)
	f.resources = s.resources(b.attr("resources"))
	f.runner = textField(s, b.attr("runner"), "", (*scope).runner)
	f.dependsOn = s.m.dependsOn(b)
	return f
}

// textField is an attribute whose text check turns into a T.
func textField[T any](s *scope, attr *hclsyntax.Attribute, unset T, check func(*scope, string, hcl.Range) T) field[T] {
	if attr == nil {
		return field[T]{value: unset}
	}
	return fieldOf(s, usesEach(attr.Expr), func(s *scope) T {
		text, ok := s.text(attr.Expr, attr.Name)
		if !ok {
			return unset
		}
		return check(s, text, attr.Expr.Range())
	})
}

// action checks that there is one action and prepares its lists.
func (s *scope) action(f *stepFields, b *stepBlock) {
	exec, script, interpreter := b.attr("exec"), b.attr("script"), b.attr("interpreter")
	if onError := b.attr("on_error"); onError != nil && script == nil {
		s.problem(onError.NameRange, "on_error without a script", "on_error is about the entries of a script, and %s has none.", b.addr)
	}
	if echo := b.attr("echo"); echo != nil {
		if exec != nil || script != nil {
			s.problem(echo.NameRange, "Step with two actions", "%s has another action already. A step has one of exec, script and echo.", b.addr)
		}
		return
	}
	switch {
	case exec == nil && script == nil:
		s.problem(b.header(), "Step without an action", "%s needs exec = [\"COMMAND\", …] or script = [\"LINE\", …].", b.addr)
	case exec != nil && script != nil:
		second, first := exec, script
		if exec.SrcRange.Start.Byte < script.SrcRange.Start.Byte {
			second, first = script, exec
		}
		s.problem(second.NameRange, "Step with two actions", "%s has %s already. A step has one of exec and script.", b.addr, first.Name)
	case exec != nil && interpreter != nil:
		s.problem(interpreter.NameRange, "Interpreter without a script", "An interpreter runs a script, and %s has exec.", b.addr)
	}
	if exec != nil {
		f.exec, f.execAt = s.list(exec, false), []hcl.Range{exec.SrcRange}
	}
	if script != nil {
		f.script = s.list(script, true)
	}
	if interpreter != nil {
		f.interp = s.list(interpreter, true)
	}
}

var defaultInterpreter = []string{"/bin/sh"}

// makeAction returns the action of one instance.
func (s *scope) makeAction(f *stepFields, b *stepBlock) Action {
	a := Action{Echo: b.attr("echo") != nil, Continue: f.onError.get(s)}
	switch {
	case f.exec != nil:
		argv, _, ok := f.exec.get(s)
		a.Exec, a.Ranges = argv, f.execAt
		if attr := b.attr("exec"); ok && noCommand(argv) {
			s.problem(attr.Expr.Range(), "Empty command", "The first element of exec is the command to run, and it is not empty.")
		}
	case f.script != nil:
		var ok bool
		a.Script, a.Ranges, ok = f.script.get(s)
		a.Interpreter = defaultInterpreter
		if ok && len(a.Script) == 0 {
			s.problem(b.attr("script").Expr.Range(), "Empty script", "A script has at least one entry.")
		}
		if f.interp != nil {
			a.Interpreter, _, ok = f.interp.get(s)
			if ok && noCommand(a.Interpreter) {
				s.problem(b.attr("interpreter").Expr.Range(), "Empty command", "The first element of interpreter is the command to run, and it is not empty.")
			}
		}
	}
	return a
}

// flag prepares an attribute that is true or false.
func (s *scope) flag(attr *hclsyntax.Attribute) field[bool] {
	if attr == nil {
		return field[bool]{}
	}
	return fieldOf(s, usesEach(attr.Expr), func(s *scope) bool {
		v, ok := s.value(attr.Expr, attr.Name)
		if !ok {
			return false
		}
		if v.IsNull() || v.Type() != cty.Bool {
			s.problem(attr.Expr.Range(), "Wrong type", "The attribute %q is true or false, and this is %s.", attr.Name, describe(v))
			return false
		}
		if attr.Name == "echo" && v.False() {
			s.problem(attr.Expr.Range(), "Step without an action", "echo = false is no action. Leave it out, and give the step exec or script.")
		}
		return v.True()
	})
}

// onError reads on_error: whether entries after one that fails run too.
func (s *scope) onError(text string, at hcl.Range) bool {
	if text != "stop" && text != "continue" {
		s.problem(at, "Invalid on_error", "%s is neither \"stop\", which ends a script with the first entry that fails, nor \"continue\".%s", s.quote(text), suggest(text, []string{"stop", "continue"}))
	}
	return text == "continue"
}

func noCommand(argv []string) bool { return len(argv) == 0 || argv[0] == "" }

func (s *scope) timeout(text string, at hcl.Range) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		s.problem(at, "Invalid timeout", "%s is no timeout. Write a number above zero and its unit, such as \"90s\", \"10m\" or \"1h30m\".", s.quote(text))
		return 0
	}
	return d
}

func (s *scope) cwd(text string, at hcl.Range) string {
	if !path.IsAbs(text) {
		s.problem(at, "Invalid working directory", "%s is no absolute path. The directory a step starts in begins with a slash.", s.quote(text))
		return "/"
	}
	return path.Clean(text)
}

var userForm = lazyregexp.New(`^[0-9]+(:[0-9]+)?$`)

// maxUser is the largest uid or gid: 2^32-1 stands for "no change" in the kernel.
const maxUser = 1<<32 - 2

func (s *scope) user(text string, at hcl.Range) string {
	ok := userForm.MatchString(text)
	for _, id := range strings.Split(text, ":") {
		n, err := strconv.ParseUint(id, 10, 64)
		ok = ok && err == nil && n <= maxUser
	}
	if !ok {
		s.problem(at, "Invalid user", "%s is no user. Write a numeric uid, or \"UID:GID\"; names are not known inside a step.", s.quote(text))
		return "0:0"
	}
	return text
}

// reserved are the directories that kiln itself mounts in every step.
var reserved = []string{"/proc", "/dev", "/sys", "/.kiln"}

// Reserved returns which of the directories that kiln provides in every step the path p
// is or lies in, or "".
func Reserved(p string) string {
	for _, dir := range reserved {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return dir
		}
	}
	return ""
}

// checkPath cleans p, a path inside the step.
func (s *scope) checkPath(p string, at hcl.Range, summary, what string) (string, bool) {
	if !path.IsAbs(p) {
		s.problem(at, summary, "%s is no %s.", s.quote(p), what)
		return "", false
	}
	clean := path.Clean(p)
	if dir := Reserved(clean); dir != "" {
		s.problem(at, "Reserved path", "%s lies in %s, which kiln provides in every step. Choose another path.", s.quote(p), dir)
		return "", false
	}
	return clean, true
}

func sortedUnique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
