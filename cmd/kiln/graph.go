package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/formula"
)

const graphHelp = `Print the wares and steps of a formula and what each step takes: as text, for
Graphviz with --format dot, or for Mermaid with --format mermaid. Nothing is resolved,
fetched or run.`

func newGraphCmd(a *app) *cobra.Command {
	var f formulaFlags
	var format string
	cmd := &cobra.Command{
		Use:   "graph [FILE|DIR]",
		Short: "Print what depends on what",
		Long:  graphHelp,
		RunE: func(_ *cobra.Command, args []string) error {
			f.parse(args)
			write := graphFormats[format]
			if write == nil {
				return fmt.Errorf("option --format %s: want text, dot or mermaid", format)
			}
			return a.each(f.path, true, func(path string) error {
				one := f
				one.path = path
				loaded, err := one.load(a, nil)
				if err != nil {
					return err
				}
				b := bufio.NewWriter(a.stdout)
				write(b, graphOf(loaded))
				return b.Flush()
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&format, "format", "text", "text, dot or mermaid")
	return cmd
}

var graphFormats = map[string]func(io.Writer, *graph){"text": writeText, "dot": writeDot, "mermaid": writeMermaid}

// A graph is the nodes of a formula, wares first, steps in topological order, outputs
// last, and what goes into each.
type graph struct {
	nodes []string
	edges map[string][]edge // by the node they lead to
	kind  map[string]string // "ware", "step", "output"
}

// An edge says what a node takes, and as what: a port, or "" for waiting alone.
type edge struct{ from, label string }

func graphOf(f *formula.Formula) *graph {
	g := &graph{edges: map[string][]edge{}, kind: map[string]string{}}
	add := func(name, kind string) {
		g.nodes, g.kind[name] = append(g.nodes, name), kind
	}
	for _, w := range f.Wares {
		add(w.Addr, "ware")
	}
	for _, s := range f.Steps {
		add(s.Addr, "step")
		for _, in := range s.Inputs {
			from := in.From.Ware
			label := in.Port
			switch {
			case in.Host != "":
				from = "mount:" + in.Host
				if g.kind[from] == "" {
					add(from, "ware")
				}
			case in.From.Step != "":
				from, label = in.From.Step, in.From.Output+" → "+in.Port
			}
			g.edges[s.Addr] = append(g.edges[s.Addr], edge{from, label})
		}
		for _, addr := range s.DependsOn {
			g.edges[s.Addr] = append(g.edges[s.Addr], edge{addr, ""})
		}
		slices.SortStableFunc(g.edges[s.Addr], func(a, b edge) int { return strings.Compare(a.label, b.label) })
	}
	for _, o := range f.Outputs {
		name := "output." + o.Name
		add(name, "output")
		from, label := o.From.Ware, ""
		if from == "" {
			from, label = o.From.Step, o.From.Output
		}
		g.edges[name] = []edge{{from, label}}
	}
	return g
}

func writeText(w io.Writer, g *graph) {
	for _, n := range g.nodes {
		fmt.Fprintln(w, n)
		for _, e := range g.edges[n] {
			fmt.Fprintf(w, "    ← %s", e.from)
			if e.label != "" {
				fmt.Fprintf(w, "  %s", e.label)
			}
			fmt.Fprintln(w)
		}
	}
}

func writeDot(w io.Writer, g *graph) {
	shapes := map[string]string{"ware": "folder", "step": "box", "output": "ellipse"}
	fmt.Fprintln(w, "digraph formula {\n\trankdir=LR")
	for _, n := range g.nodes {
		fmt.Fprintf(w, "\t%s [shape=%s]\n", dotText(n), shapes[g.kind[n]])
	}
	for _, n := range g.nodes {
		for _, e := range g.edges[n] {
			fmt.Fprintf(w, "\t%s -> %s [label=%s]\n", dotText(e.from), dotText(n), dotText(e.label))
		}
	}
	fmt.Fprintln(w, "}")
}

var dotEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func dotText(s string) string { return `"` + dotEscaper.Replace(harmless(s, false)) + `"` }

func writeMermaid(w io.Writer, g *graph) {
	ids := map[string]string{}
	fmt.Fprintln(w, "flowchart LR")
	for i, n := range g.nodes {
		ids[n] = fmt.Sprintf("n%d", i)
		fmt.Fprintf(w, "    %s[%s]\n", ids[n], mermaidText(n))
	}
	for _, n := range g.nodes {
		for _, e := range g.edges[n] {
			if e.label == "" {
				fmt.Fprintf(w, "    %s --> %s\n", ids[e.from], ids[n])
				continue
			}
			fmt.Fprintf(w, "    %s -->|%s| %s\n", ids[e.from], mermaidText(e.label), ids[n])
		}
	}
}

var mermaidEscaper = strings.NewReplacer(`"`, "#quot;", "\n", " ", "#", "#35;")

func mermaidText(s string) string { return `"` + mermaidEscaper.Replace(harmless(s, false)) + `"` }
