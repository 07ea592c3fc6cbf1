package query

import "fmt"

// schemaObject is a piece of JSON Schema, as OpenAPI 3.1 takes it.
type schemaObject = map[string]any

func textSchema(*Spec) schemaObject { return schemaObject{"type": "string"} }

func intSchema(low, high int64) func(*Spec) schemaObject {
	return func(*Spec) schemaObject {
		return schemaObject{"type": "integer", "minimum": low, "maximum": high}
	}
}

func intSchemaDefault(low, high, def int64) schemaObject {
	return schemaObject{"type": "integer", "minimum": low, "maximum": high, "default": def}
}

func listSchema(values []string) schemaObject {
	return schemaObject{"type": "array", "items": schemaObject{"type": "string", "enum": values}}
}

// listSchemaDefault adds what stands for the absent list: all, where nothing is set.
func listSchemaDefault[T fmt.Stringer](values []string, standard []T) schemaObject {
	names := []string{"all"}
	if len(standard) > 0 {
		names = nil
	}
	for _, v := range standard {
		names = append(names, v.String())
	}
	out := listSchema(values)
	out["default"] = names
	return out
}
