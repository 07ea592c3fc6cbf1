// Package openapi describes Go types in JSON Schema, as OpenAPI 3.1 takes it, so that the documentation of an answer is made of the answer's own type.
package openapi

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Object is a piece of a document.
type Object = map[string]any

// Ref refers to a schema of the document's components.
func Ref(name string) Object { return Object{"$ref": "#/components/schemas/" + name} }

// Schemas describes types as encoding/json writes them.
type Schemas struct {
	// Components gets the named structs within what is described, which refers to them; nil: they are described in place.
	Components Object
	// Name gives the name of a struct; nil: that of its type.
	Name func(reflect.Type) string
	// Known are types that write themselves in a way that their kind does not tell.
	Known map[reflect.Type]Object
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
	textType = reflect.TypeFor[encoding.TextMarshaler]()
)

// Of describes a type in place; structs within it become components. Fields without omitempty or omitzero are required.
func (s *Schemas) Of(t reflect.Type) Object {
	if known, ok := s.Known[t]; ok {
		return known
	}
	switch {
	case t == timeType:
		return Object{"type": "string", "format": "date-time"}
	case t == rawType:
		return Object{} // any JSON
	case t.Kind() != reflect.Pointer && t.Implements(textType):
		return Object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return orNull(s.field(t.Elem()))
	case reflect.Slice:
		return Object{"type": "array", "items": s.field(t.Elem())}
	case reflect.Map:
		return Object{"type": "object", "additionalProperties": s.field(t.Elem())}
	case reflect.String:
		return Object{"type": "string"}
	case reflect.Bool:
		return Object{"type": "boolean"}
	case reflect.Float64, reflect.Float32:
		return Object{"type": "number"}
	case reflect.Struct:
		properties, required := Object{}, []string{}
		s.fields(t, properties, &required)
		slices.Sort(required)
		return Object{"type": "object", "properties": properties, "required": required}
	default:
		return Object{"type": "integer"}
	}
}

func orNull(schema Object) Object {
	kind, ok := schema["type"].(string)
	if !ok {
		return Object{"anyOf": []any{schema, Object{"type": "null"}}}
	}
	schema["type"] = []string{kind, "null"}
	return schema
}

func (s *Schemas) fields(t reflect.Type, properties Object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			s.fields(f.Type, properties, required)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || name == "" {
			continue
		}
		properties[name] = s.field(f.Type)
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}

// field is Of with structs by reference.
func (s *Schemas) field(t reflect.Type) Object {
	if _, known := s.Known[t]; known || s.Components == nil || t.Kind() != reflect.Struct || t == timeType || t.Implements(textType) {
		return s.Of(t)
	}
	name := t.Name()
	if s.Name != nil {
		name = s.Name(t)
	}
	if s.Components[name] == nil {
		s.Components[name] = Object{} // it may contain itself
		s.Components[name] = s.Of(t)
	}
	return Ref(name)
}
