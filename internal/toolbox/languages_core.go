//go:build core

package toolbox

var languages []string

func lookupLanguage(string) (entry, bool) { return entry{}, false }
