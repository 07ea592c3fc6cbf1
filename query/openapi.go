package query

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Operation is one documented operation of the HTTP API. Other packages
// contribute theirs to the one document.
type Operation struct {
	Method      string // "get", "post", …
	Path        string
	ID          string // operationId, unique
	Tag         string
	Summary     string
	Description string
	Parameters  []schemaObject // OpenAPI parameter objects
	RequestBody schemaObject   // nil: none
	Responses   schemaObject   // by status
	NoAuth      bool           // needs no key
}

// openAPIVersion is the version of the description, not of the software.
const openAPIVersion = "3.1.0"

// OpenAPI is the description of the HTTP API: what this package serves, and what
// others add. It is made of the routes' own table, so that it cannot say what is not.
func OpenAPI(extra ...Operation) ([]byte, error) {
	schemas := schemaObject{"Error": schemaOf(reflect.TypeFor[failure](), nil)}
	operations := make([]Operation, 0, len(routes)+len(extra)+2)
	for _, rt := range allRoutes() {
		operations = append(operations, rt.operation(schemas))
	}
	operations = append(operations, Operation{
		Method: "get", Path: OpenAPIPath, ID: "openapi", Tag: "about", Summary: "This description", NoAuth: true,
		Responses: schemaObject{"200": schemaObject{"description": "OpenAPI 3.1", "content": schemaObject{"application/json": schemaObject{"schema": schemaObject{"type": "object"}}}}},
	})
	operations = append(operations, extra...)

	paths := schemaObject{}
	ids := map[string]bool{}
	for _, op := range operations {
		item, _ := paths[op.Path].(schemaObject)
		if item == nil {
			item = schemaObject{}
			paths[op.Path] = item
		}
		method := strings.ToLower(op.Method)
		if item[method] != nil || ids[op.ID] {
			return nil, fmt.Errorf("BUG: %s %s (%s) is documented twice", op.Method, op.Path, op.ID)
		}
		ids[op.ID] = true
		item[method] = op.object()
	}
	return json.MarshalIndent(schemaObject{
		"openapi": openAPIVersion,
		"info": schemaObject{
			"title": "Gatehouse", "version": "1",
			"description": "Who signed in where, when, for how long, and what failed. A key reads the company that it belongs to and knows of no other.",
			"license":     schemaObject{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"security": []any{schemaObject{"apiKey": []any{}}, schemaObject{"bearer": []any{}}},
		"paths":    paths,
		"components": schemaObject{
			"schemas": schemas,
			"securitySchemes": schemaObject{
				"apiKey": schemaObject{"type": "apiKey", "in": "header", "name": "X-API-Key"},
				"bearer": schemaObject{"type": "http", "scheme": "bearer", "description": "The API key as a bearer token."},
			},
		},
	}, "", "  ")
}

func (op *Operation) object() schemaObject {
	o := schemaObject{"operationId": op.ID, "summary": op.Summary, "responses": op.Responses}
	if op.Tag != "" {
		o["tags"] = []string{op.Tag}
	}
	if op.Description != "" {
		o["description"] = op.Description
	}
	if len(op.Parameters) > 0 {
		o["parameters"] = op.Parameters
	}
	if op.RequestBody != nil {
		o["requestBody"] = op.RequestBody
	}
	if op.NoAuth {
		o["security"] = []any{}
	}
	return o
}

func (rt *route) operation(schemas schemaObject) Operation {
	op := Operation{Method: "get", Path: rt.path, ID: rt.spec.Name, Tag: "reports", Summary: rt.summary, Description: rt.description}
	if !strings.HasPrefix(rt.path, ListPath) {
		op.Tag = "events"
	}
	if strings.HasSuffix(rt.path, "/{id}") {
		op.Parameters = append(op.Parameters, schemaObject{
			"name": "id", "in": "path", "required": true, "description": "The event's id.",
			"schema": schemaObject{"type": "string", "pattern": "^[0-9a-f]{32}$"},
		})
	}
	for _, d := range paramOrder {
		if !slices.Contains(rt.spec.Params, d.Name) {
			continue
		}
		object := schemaObject{"name": d.Name, "in": "query", "description": d.Description, "schema": d.schema(rt.spec)}
		if d.several(rt.spec) {
			object["explode"], object["style"] = false, "form"
		}
		op.Parameters = append(op.Parameters, object)
	}
	name := rt.answer.Elem().Name()
	schemas[name] = schemaOf(rt.answer.Elem(), schemas)
	content := schemaObject{"application/json": schemaObject{"schema": ref(name)}}
	if rt.csv {
		content["text/csv"] = schemaObject{"schema": schemaObject{"type": "string"}}
	}
	op.Responses = schemaObject{"200": schemaObject{"description": rt.summary, "content": content}}
	for status, text := range map[string]string{
		"400": "A parameter is wrong; field names it, errors lists all.", "401": "No key, or a bad one.", "403": "The key may not read.",
		"404": "There is no such company, report or event, or it is not the caller's.", "413": "The parameters are too long.",
		"500": "Our fault; request_id finds it in the log.", "503": "Try again after Retry-After seconds.",
	} {
		op.Responses[status] = ErrorResponse(text)
	}
	return op
}

// ErrorResponse is the documentation of an answer that is an error.
func ErrorResponse(description string) map[string]any {
	return schemaObject{"description": description, "content": schemaObject{"application/json": schemaObject{"schema": ref("Error")}}}
}

func ref(name string) schemaObject { return schemaObject{"$ref": "#/components/schemas/" + name} }

// schemaOf describes a type as encoding/json writes it. Named structs other than
// the outermost are put into schemas, and referred to.
func schemaOf(t reflect.Type, schemas schemaObject) schemaObject {
	switch t.Kind() {
	case reflect.Pointer:
		inner := schemaOf(t.Elem(), schemas)
		if kind, ok := inner["type"].(string); ok {
			inner["type"] = []string{kind, "null"}
		}
		return inner
	case reflect.Slice:
		return schemaObject{"type": "array", "items": fieldSchema(t.Elem(), schemas)}
	case reflect.String:
		return schemaObject{"type": "string"}
	case reflect.Bool:
		return schemaObject{"type": "boolean"}
	case reflect.Float64, reflect.Float32:
		return schemaObject{"type": "number"}
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return schemaObject{"type": "string", "format": "date-time"}
		}
		properties, required := schemaObject{}, []string{}
		structFields(t, schemas, properties, &required)
		slices.Sort(required)
		return schemaObject{"type": "object", "properties": properties, "required": required}
	default:
		return schemaObject{"type": "integer"}
	}
}

func structFields(t reflect.Type, schemas, properties schemaObject, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			structFields(f.Type, schemas, properties, required)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || name == "" {
			continue
		}
		properties[name] = fieldSchema(f.Type, schemas)
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}

// fieldSchema is schemaOf with structs by reference.
func fieldSchema(t reflect.Type, schemas schemaObject) schemaObject {
	if t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]() && schemas != nil {
		if schemas[t.Name()] == nil {
			schemas[t.Name()] = schemaObject{} // it may contain itself
			schemas[t.Name()] = schemaOf(t, schemas)
		}
		return ref(t.Name())
	}
	return schemaOf(t, schemas)
}
