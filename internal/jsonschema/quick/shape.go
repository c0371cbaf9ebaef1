package quick

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"unicode"
)

// A shape says how encoding/json writes the values of a type.
type shape struct {
	form   form
	elem   *shape // array, object, pointer
	fields []shapeField
	names  map[string]int // indexes in fields
}

type form uint8

const (
	opaque form = iota // not known here
	fBool
	fInt
	fUint
	fFloat32
	fFloat64
	fString
	fNumber // json.Number
	fArray
	fSlice
	fMap
	fStruct
	fPointer
	fInterface
)

type shapeField struct {
	name      string
	index     int
	omitEmpty bool
	omitZero  bool
	shape     *shape
}

var (
	shapes     sync.Map // reflect.Type → *shape
	shapesMu   sync.Mutex
	marshaler  = reflect.TypeFor[json.Marshaler]()
	texter     = reflect.TypeFor[encoding.TextMarshaler]()
	zeroer     = reflect.TypeFor[interface{ IsZero() bool }]()
	jsonNumber = reflect.TypeFor[json.Number]()
)

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	shapesMu.Lock()
	defer shapesMu.Unlock()
	made := map[reflect.Type]*shape{}
	s := makeShape(t, made)
	for t, s := range made {
		shapes.LoadOrStore(t, s)
	}
	return s
}

// makeShape makes the shapes of a type and of those it is made of, which may
// include itself.
func makeShape(t reflect.Type, made map[reflect.Type]*shape) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	if s := made[t]; s != nil {
		return s
	}
	s := &shape{}
	made[t] = s
	pointer := reflect.PointerTo(t)
	if t.Kind() != reflect.Interface && (pointer.Implements(marshaler) || pointer.Implements(texter)) {
		return s
	}
	switch t.Kind() {
	case reflect.Bool:
		s.form = fBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.form = fInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		s.form = fUint
	case reflect.Float32:
		s.form = fFloat32
	case reflect.Float64:
		s.form = fFloat64
	case reflect.String:
		s.form = fString
		if t == jsonNumber {
			s.form = fNumber
		}
	case reflect.Array:
		s.form, s.elem = fArray, makeShape(t.Elem(), made)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return s // base64
		}
		s.form, s.elem = fSlice, makeShape(t.Elem(), made)
	case reflect.Map:
		if t.Key().Kind() != reflect.String || t.Key().Implements(texter) {
			return s
		}
		s.form, s.elem = fMap, makeShape(t.Elem(), made)
	case reflect.Pointer:
		s.form, s.elem = fPointer, makeShape(t.Elem(), made)
	case reflect.Interface:
		s.form = fInterface
	case reflect.Struct:
		if s.addFields(t, made) {
			s.form = fStruct
		}
	}
	return s
}

// addFields adds a struct's fields. It is false where encoding/json's rules go
// further than this package.
func (s *shape) addFields(t reflect.Type, made map[reflect.Type]*shape) bool {
	s.names = map[string]int{}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			return false
		}
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Tag.Get("json") == "-" {
			continue
		}
		field := shapeField{name: f.Name, index: i, shape: makeShape(f.Type, made)}
		if plainName(tag) {
			field.name = tag
		} else if tag != "" {
			return false
		}
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "omitempty":
				field.omitEmpty = true
			case "omitzero":
				if f.Type.Implements(zeroer) || reflect.PointerTo(f.Type).Implements(zeroer) {
					return false
				}
				field.omitZero = true
			case "":
			default:
				return false
			}
		}
		if _, twice := s.names[field.name]; twice {
			return false
		}
		s.names[field.name] = len(s.fields)
		s.fields = append(s.fields, field)
	}
	return true
}

func plainName(name string) bool {
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-. /$", r) {
			return false
		}
	}
	return name != ""
}

// left reports whether a field is left out of the JSON.
func (f *shapeField) left(v reflect.Value) bool {
	if f.omitZero && v.IsZero() {
		return true
	}
	if !f.omitEmpty {
		return false
	}
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}
