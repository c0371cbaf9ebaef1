package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestCLIReference: docs/cli.md is what the help says; -update writes it.
func TestCLIReference(t *testing.T) {
	root := newRootCmd(&app{stdout: io.Discard, stderr: io.Discard})
	root.InitDefaultHelpCmd()
	var b bytes.Buffer
	b.WriteString("# Command line reference\n\nGenerated from the help by `go test ./cmd/kiln -update`.\n")
	writeReference(&b, root)
	golden(t, "../../docs/cli.md", b.Bytes())
}

func writeReference(b *bytes.Buffer, cmd *cobra.Command) {
	if cmd.Hidden || cmd.Name() == "help" {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", cmd.CommandPath())
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	b.WriteString("```\n" + strings.TrimSpace(text) + "\n")
	if cmd.Runnable() && cmd.HasParent() {
		fmt.Fprintf(b, "\nUsage: %s\n", cmd.UseLine())
	}
	if flags := cmd.NonInheritedFlags(); flags.HasAvailableFlags() {
		b.WriteString("\n" + strings.TrimRight(flags.FlagUsages(), "\n") + "\n")
	}
	b.WriteString("```\n")
	for _, sub := range cmd.Commands() {
		writeReference(b, sub)
	}
}
