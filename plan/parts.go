package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// part is one of the things a step key is made of, as text that can be compared:
// wares as they are, anything a person wrote as a hash, since it may be long, or
// secret.
type part struct{ kind, name, value string }

// partsOf takes apart what stepKey hashes.
func partsOf(r *Resolved) []part {
	parts := make([]part, 0, len(r.Inputs)+len(r.Env)+len(r.Action.Script)+len(r.Outputs)+5)
	for _, in := range r.Inputs {
		parts = append(parts, part{string(ReasonInput), in.Port, string(in.Mode) + " " + in.Content()})
	}
	for _, v := range r.Env {
		parts = append(parts, part{string(ReasonEnv), v.Name, digestText(v.Value)})
	}
	if c := r.Action.Call; c != nil {
		parts = append(parts, part{string(ReasonCall), "input", digestText(string(c.Input))},
			part{string(ReasonCall), "schema_in", digestText(string(c.SchemaIn))},
			part{string(ReasonCall), "schema_out", digestText(string(c.SchemaOut))})
	}
	switch {
	case r.Action.Echo:
		parts = append(parts, part{string(ReasonExec), "", digestText("echo")})
	case r.Action.Script != nil:
		parts = append(parts, part{string(ReasonInterp), "", digestText(r.Action.Interpreter...)})
		for i, entry := range r.Action.Script {
			parts = append(parts, part{string(ReasonScript), strconv.Itoa(i + 1), digestText(entry)})
		}
	default:
		parts = append(parts, part{string(ReasonExec), "", digestText(r.Action.Exec...)})
	}
	for _, o := range r.Outputs {
		parts = append(parts, part{string(ReasonOutput), o.Name, digestText(o.Path, o.Packtype, canonicalFilters(o.Filters))})
	}
	return append(parts, part{string(ReasonCwd), "", r.Cwd}, part{string(ReasonUser), "", r.User},
		part{string(ReasonWorld), "", Platform + " " + World})
}

// digestText is long enough to tell two values of one formula apart.
func digestText(values ...string) string {
	sum := sha256.Sum256(appendStrings(nil, values))
	return hex.EncodeToString(sum[:8])
}

func diffParts(old, now []part) (changed []Reason) {
	type name struct{ kind, name string }
	before := make(map[name]string, len(old))
	for _, p := range old {
		before[name{p.kind, p.name}] = p.value
	}
	for _, p := range now {
		was, had := before[name{p.kind, p.name}]
		delete(before, name{p.kind, p.name})
		if !had || was != p.value {
			changed = append(changed, changeOf(p, was, had, true))
		}
	}
	for _, p := range old {
		if was, gone := before[name{p.kind, p.name}]; gone {
			changed = append(changed, changeOf(p, was, true, false))
		}
	}
	return changed
}

// changeOf makes the reason for one part; had and has say whether there was and is one.
func changeOf(p part, was string, had, has bool) Reason {
	r := Reason{Kind: ReasonKind(p.kind), Name: p.name}
	what := map[ReasonKind]string{
		ReasonInput: "input " + p.name, ReasonEnv: "env " + p.name, ReasonScript: "script entry " + p.name,
		ReasonExec: "exec", ReasonCall: p.name, ReasonInterp: "interpreter", ReasonOutput: "output " + p.name,
		ReasonCwd: "cwd", ReasonUser: "user", ReasonWorld: "kiln's fixed world",
	}[r.Kind]
	switch {
	case !had:
		r.Text = what + " is new"
	case !has:
		r.Text = what + " was removed"
	default:
		r.Text = what + " changed"
	}
	switch r.Kind {
	case ReasonInput:
		oldMode, oldWare, _ := strings.Cut(was, " ")
		mode, ware, _ := strings.Cut(p.value, " ")
		if had {
			r.Old = oldWare
		}
		if has {
			r.New = ware
		}
		switch {
		case had && has && oldWare == ware:
			r.Text += ": " + oldMode + " → " + mode
		case had && has:
			r.Text += ": " + shortText(oldWare) + " → " + shortText(ware)
		}
	case ReasonCwd, ReasonUser, ReasonWorld:
		r.Old, r.New = was, p.value
		r.Text += ": " + was + " → " + p.value
	}
	return r
}
