// Command kiln-toolbox is the shell and the core utilities of kiln's builtin
// ware "toolbox": it acts as the utility that it is called as.
package main

import (
	"os"

	"github.com/kilnbuild/kiln/internal/toolbox"
)

func main() { os.Exit(toolbox.Main(os.Args)) }
