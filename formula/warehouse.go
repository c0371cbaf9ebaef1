package formula

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// A Warehouse is where wares of the formula may be fetched, besides the warehouses that
// the person has configured: it is asked after those, for wares only, and nothing is
// ever put into it.
type Warehouse struct {
	Name  string
	URL   string
	Range hcl.Range
}

type warehouseBlock struct{ decl }

// warehouse evaluates a warehouse block.
func (m *module) warehouse(w *warehouseBlock) (Warehouse, bool) {
	attr := w.attr("url")
	if attr == nil {
		return Warehouse{}, false // reported as missing
	}
	s := m.scope(w.around(), m.context(w.around(), false, attr.Expr))
	defer s.done()
	text, ok := s.text(attr.Expr, "url")
	if !ok {
		return Warehouse{}, false
	}
	if scheme, rest, ok := strings.Cut(text, "://"); !ok || scheme == "" || rest == "" {
		s.problem(attr.Expr.Range(), "Invalid address", "%s is no warehouse address, which is a URL such as ca+https://example.org/wares.", s.quote(text))
		return Warehouse{}, false
	}
	if s.sensitive {
		s.problem(attr.Expr.Range(), "Sensitive address", "The address of %s is made from a sensitive value, and addresses are shown. Credentials belong into config.hcl.", w.addr)
	}
	return Warehouse{Name: w.addr, URL: text, Range: w.header()}, true
}
