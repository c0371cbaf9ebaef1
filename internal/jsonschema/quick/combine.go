package quick

import "reflect"

func (n *node) combines() bool { return n.all != nil || n.any != nil || n.one != nil || n.not != nil }

// combined checks the schemas that a node applies to the same value.
func (c *checker) combined(n *node, v reflect.Value, s *shape, depth int) Verdict {
	verdict := Valid
	for _, inner := range n.all {
		if verdict = and(verdict, c.check(inner, v, s, depth)); verdict == Invalid {
			return Invalid
		}
	}
	if n.any != nil {
		if verdict = and(verdict, c.anyOf(n, v, s, depth)); verdict == Invalid {
			return Invalid
		}
	}
	if n.one != nil {
		if verdict = and(verdict, c.oneOf(n, v, s, depth)); verdict == Invalid {
			return Invalid
		}
	}
	if n.not != nil {
		switch c.check(n.not, v, s, depth) {
		case Valid:
			return c.invalid("is what it must not be")
		case Unsure:
			verdict = Unsure
		}
	}
	return verdict
}

func (c *checker) anyOf(n *node, v reflect.Value, s *shape, depth int) Verdict {
	found := Invalid
	for _, inner := range n.any {
		switch c.check(inner, v, s, depth) {
		case Valid:
			return Valid
		case Unsure:
			found = Unsure
		}
	}
	if found == Invalid {
		return c.invalid("is none of the %d things it may be", len(n.any))
	}
	return found
}

func (c *checker) oneOf(n *node, v reflect.Value, s *shape, depth int) Verdict {
	valid, unsure := 0, 0
	for _, inner := range n.one {
		switch c.check(inner, v, s, depth) {
		case Valid:
			valid++
		case Unsure:
			unsure++
		}
	}
	switch {
	case valid > 1:
		return c.invalid("is %d of the things of which it must be one", valid)
	case unsure > 0:
		return Unsure
	case valid == 0:
		return c.invalid("is none of the %d things it may be", len(n.one))
	}
	return Valid
}
