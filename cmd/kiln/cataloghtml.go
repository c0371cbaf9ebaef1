package main

import (
	"fmt"
	"html"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/kilnbuild/kiln/internal/newfile"
	"github.com/kilnbuild/kiln/plan/workspace"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
	"github.com/zclconf/go-cty/cty"
)

func newCatalogHTMLCmd(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "html",
		Short: "Write the catalogs as web pages",
		Long: `Write a page for each module of all catalogs and one that lists them, for people to
browse: plain files that any web server can serve. What is in the directory already
and is no such page stays as it is.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			found, err := lookAround("")
			if err != nil {
				return err
			}
			return found.writePages(a, dir)
		},
	}
	cmd.Flags().StringVarP(&dir, "output", "o", "catalog", "where to, a `DIR`")
	return cmd
}

func (f *catalogued) writePages(a *app, dir string) error {
	var list strings.Builder
	list.WriteString("<h1>Catalog</h1>\n<table>\n<tr><th>Module</th><th>Releases</th><th>Newest</th></tr>\n")
	for _, m := range f.modules {
		newest := ""
		if n := len(m.Releases); n > 0 {
			newest = m.Releases[n-1].Name
		}
		fmt.Fprintf(&list, "<tr><td><a href=\"%s/index.html\">%s</a></td><td>%d</td><td>%s</td></tr>\n",
			html.EscapeString(m.Name), html.EscapeString(m.Name), len(m.Releases), html.EscapeString(newest))
		up := strings.Repeat("../", strings.Count(m.Name, "/")+1)
		if err := writePage(filepath.Join(dir, filepath.FromSlash(m.Name)), m.Name, modulePage(m, up)); err != nil {
			return err
		}
	}
	list.WriteString("</table>\n")
	if err := writePage(dir, "Catalog", list.String()); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, filepath.Join(dir, "index.html"))
	return nil
}

// modulePage is what the page of a module shows: newest releases first.
func modulePage(m *workspace.Module, up string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<p><a href=\"%sindex.html\">Catalog</a></p>\n<h1>%s</h1>\n", up, html.EscapeString(m.Name))
	for i := len(m.Releases) - 1; i >= 0; i-- {
		r := m.Releases[i]
		fmt.Fprintf(&b, "<h2 id=\"%[1]s\"><a href=\"#%[1]s\">%[1]s</a></h2>\n<table>\n<tr><th>Item</th><th>Ware</th><th>Where</th></tr>\n", html.EscapeString(r.Name))
		for _, item := range r.Items {
			fmt.Fprintf(&b, "<tr><td>%s</td><td><code>%s</code></td><td>%s</td></tr>\n",
				html.EscapeString(item.Name), html.EscapeString(item.ID.String()), places(m.Addresses(item.ID)))
		}
		b.WriteString("</table>\n")
		b.WriteString("<pre>")
		for _, item := range r.Items {
			name := hclwrite.TokensForValue(cty.StringVal(m.Name + ":" + r.Name + ":" + item.Name)).Bytes()
			fmt.Fprintf(&b, "ware \"%s\" { catalog = %s }\n", html.EscapeString(wareName(item.Name)), html.EscapeString(string(name)))
		}
		b.WriteString("</pre>\n")
		if r.Replay != "" {
			fmt.Fprintf(&b, "<p>Made by the replay <code>%s</code>; <code>kiln run --recursive</code> makes it again.</p>\n", html.EscapeString(r.Replay))
		}
	}
	return b.String()
}

// wareName is what a formula could call an item.
func wareName(item string) string {
	if hclsyntax.ValidIdentifier(item) {
		return item
	}
	return "x"
}

// places shows addresses, as links where a browser can follow them.
func places(addrs []string) string {
	var shown []string
	for _, addr := range addrs {
		text := html.EscapeString(warehouse.RedactURL(addr))
		if strings.HasPrefix(addr, "https://") || strings.HasPrefix(addr, "http://") {
			text = "<a href=\"" + text + "\">" + text + "</a>"
		}
		shown = append(shown, text)
	}
	return strings.Join(shown, "<br>")
}

// pageStyle also makes a table of a small screen a list, so that nothing is cut off.
const pageStyle = `body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h1, h2, td { overflow-wrap: anywhere } h2 { margin: 2rem 0 .5rem; font-size: 1.2rem } h2 a { color: inherit; text-decoration: none }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
th { font-size: .85em; font-weight: normal; color: #666 } td:first-child { font-weight: 600; min-width: 5em }
code, pre { font-family: ui-monospace, monospace; font-size: .85em } code { overflow-wrap: anywhere } pre { background: #f5f5f5; padding: .5rem; overflow-x: auto }
@media (max-width: 40rem) { table, tbody, tr, td { display: block } tr { border-bottom: 1px solid #ddd; padding: .3rem 0 } td { border: 0; padding: 0 } th { display: none } }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } th, td, tr { border-color: #444 } th { color: #999 } pre { background: #222 } a { color: #8ab4f8 } }`

func writePage(dir, title, body string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write pages: %w", err)
	}
	err := newfile.Write(filepath.Join(dir, "index.html"), true, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"+
			"<title>%s</title>\n<style>\n%s\n</style>\n</head>\n<body>\n%s</body>\n</html>\n", html.EscapeString(title), pageStyle, body)
		return err
	})
	if err != nil {
		return fmt.Errorf("write pages: %w", err)
	}
	return nil
}
