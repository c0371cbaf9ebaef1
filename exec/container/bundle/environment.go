package bundle

import "slices"

// A Variable is one of a container's environment.
type Variable struct{ Name, Value string }

// world is what every container's environment begins with. Who changes it changes
// plan.World, so that no memo of the old world is used.
var world = []Variable{
	{Name: "PATH", Value: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	{Name: "HOME", Value: "/tmp"},
	{Name: "TERM", Value: "dumb"},
	{Name: "LANG", Value: "C.UTF-8"},
	{Name: "TZ", Value: "UTC"},
	{Name: "SOURCE_DATE_EPOCH", Value: "1262304000"}, // the mtime of outputs, 2010-01-01
}

// Environment returns a container's whole environment, as "NAME=value": the world's,
// with own variables in its place or after it.
func Environment(own []Variable) []string {
	env := make([]string, 0, len(world)+len(own))
	for _, v := range world {
		if !slices.ContainsFunc(own, func(o Variable) bool { return o.Name == v.Name }) {
			env = append(env, v.Name+"="+v.Value)
		}
	}
	for _, v := range own {
		env = append(env, v.Name+"="+v.Value)
	}
	return env
}
