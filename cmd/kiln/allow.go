package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
)

// allowFlag is the value of --allow: what a person consents to that steps can ask for.
type allowFlag struct{ exec.Allowed }

func (f *allowFlag) String() string {
	var names []string
	if f.Network {
		names = append(names, "network")
	}
	if f.Mount {
		names = append(names, "mount")
	}
	if f.Unlimited {
		names = append(names, "unlimited")
	}
	return strings.Join(names, ",")
}

// Set takes one name, or several with commas between.
func (f *allowFlag) Set(s string) error {
	for name := range strings.SplitSeq(s, ",") {
		switch name {
		case "network":
			f.Network = true
		case "mount":
			f.Mount = true
		case "unlimited":
			f.Unlimited = true
		default:
			return fmt.Errorf("want network, mount or unlimited, not %q", name)
		}
	}
	return nil
}

// Type is the placeholder in help.
func (f *allowFlag) Type() string { return "WHAT" }

func (f *allowFlag) add(cmd *cobra.Command) {
	cmd.Flags().Var(f, "allow", "let steps that ask for it use the network, or mount paths of this machine, or run although their limits cannot be enforced here: `WHAT` is network, mount or unlimited (repeatable)")
}

// consent is a diagnostic for each of steps that asks for what was not allowed.
func (f *allowFlag) consent(steps []*plan.Step) (diags hcl.Diagnostics) {
	refuse := func(at hcl.Range, detail string) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Not allowed", Detail: detail, Subject: at.Ptr()})
	}
	for _, s := range steps {
		if s.Network && !f.Network {
			refuse(s.Range, fmt.Sprintf("%s uses this machine's network. Nobody can tell what it fetches there, so it is never remembered. To let it: --allow network.", s.Addr))
		}
		for _, in := range s.Inputs {
			if in.Host != "" && !f.Mount {
				refuse(in.Range, fmt.Sprintf("%s mounts %s of this machine%s. What is there can change, so it is never remembered. To let it: --allow mount.", s.Addr, in.Host, writes(in.Mode)))
			}
		}
	}
	return diags
}

func writes(m formula.Mode) string {
	if m == formula.ReadWrite {
		return ", to write to it"
	}
	return ""
}

// openSteps returns the addresses of steps that are not hermetic, sorted.
func openSteps(p *plan.Plan, ran map[string]bool) []string {
	addrs := []string{}
	for _, s := range p.Steps {
		if ran[s.Addr] && !plan.Hermetic(s.Step) {
			addrs = append(addrs, s.Addr)
		}
	}
	slices.Sort(addrs)
	return addrs
}
