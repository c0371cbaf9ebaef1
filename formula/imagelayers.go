package formula

import (
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// layers decodes the wares of an image, each WARE or { from = WARE, path = "/path" }.
func (s *scope) layers(attr *hclsyntax.Attribute) []ImageLayer {
	var items []item
	if tuple, ok := attr.Expr.(*hclsyntax.TupleConsExpr); ok {
		for _, expr := range tuple.Exprs {
			if v, ok := s.known(s.raw(expr)); ok {
				items = append(items, item{value: v, at: expr.Range(), expr: expr})
			}
		}
		if len(tuple.Exprs) > 0 && len(items) == 0 {
			return nil // reported
		}
	} else {
		v, ok := s.value(attr.Expr, "layers")
		if !ok {
			return nil
		}
		if !v.Type().IsTupleType() && !v.Type().IsListType() {
			s.problem(attr.Expr.Range(), "Wrong type", "The value of layers must be a list of wares, the lowest first, and this is %s.", describe(v))
			return nil
		}
		items, _ = s.elements(v, attr.Expr.Range(), "layers")
	}
	if len(items) == 0 {
		s.problem(attr.Expr.Range(), "Image without layers", "An image has at least one layer. Leave layers out, and the output's value is it.")
	}
	var layers []ImageLayer
	for _, e := range items {
		if l, ok := s.layer(e); ok {
			layers = append(layers, l)
		}
	}
	return layers
}

func (s *scope) layer(e item) (ImageLayer, bool) {
	l := ImageLayer{Path: "/", Range: e.at}
	v, at, ok := e.value, e.at, true
	if !v.IsNull() && v.Type().IsObjectType() && v.Type().HasAttribute("from") {
		for name := range v.Type().AttributeTypes() {
			if name != "from" && name != "path" {
				nameAt, _ := e.part(name)
				s.problem(nameAt, "Unknown attribute", "A layer has no attribute %s.%s", s.quote(name), didYouMean(name, []string{"from", "path"}))
			}
		}
		if v.Type().HasAttribute("path") {
			_, pathAt := e.part("path")
			var text string
			if text, ok = s.textOf(v.GetAttr("path"), pathAt, "path"); ok {
				l.Path, ok = s.imagePath(text, pathAt, "Invalid layer path", "path of a layer, which is an absolute path in the image, such as \"/opt/app\"")
			}
		}
		v = v.GetAttr("from")
		_, at = e.part("from")
	}
	if v.IsNull() || v.Type() != wareType {
		s.problem(at, "Layer is not a ware",
			"A layer is a ware, such as ware.NAME or step.NAME.OUTPUT, or { from = WARE, path = \"/PATH\" }, and this is %s.%s", describe(v), wholeStep(v))
		return l, false
	}
	l.From = refOf(v)
	return l, ok
}
