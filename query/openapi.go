package query

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gatehouse/internal/openapi"
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
	Security    []any          // the ways to sign in that do, nil: all
	Schemas     schemaObject   // what the operation refers to under #/components/schemas/, by name; equal ones may come with several
}

// openAPIVersion is the version of the description, not of the software.
const openAPIVersion = "3.1.0"

// OpenAPI is the description of the HTTP API: what this package serves, and what
// others add. It is made of the routes' own table, so that it cannot say what is not.
func OpenAPI(extra ...Operation) ([]byte, error) {
	schemas := schemaObject{"Error": (&openapi.Schemas{}).Of(reflect.TypeFor[failure]())}
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
		for name, schema := range op.Schemas {
			if had, ok := schemas[name]; ok && !reflect.DeepEqual(had, schema) {
				return nil, fmt.Errorf("BUG: two schemas are named %s", name)
			}
			schemas[name] = schema
		}
		item[method] = op.object()
	}
	return json.MarshalIndent(schemaObject{
		"openapi": openAPIVersion,
		"info": schemaObject{
			"title": "Gatehouse", "version": "1",
			"description": "Who signed in where, when, for how long, and what failed. A key reads the company that it belongs to and knows of no other.",
			"license":     schemaObject{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"security": []any{schemaObject{"apiKey": []any{}}, schemaObject{"bearer": []any{}}, schemaObject{"session": []any{}}},
		"paths":    paths,
		"components": schemaObject{
			"schemas": schemas,
			"securitySchemes": schemaObject{
				"apiKey": schemaObject{"type": "apiKey", "in": "header", "name": "X-API-Key"},
				"bearer": schemaObject{"type": "http", "scheme": "bearer", "description": "An API key, an access token of a program that signed in, or a personal access token."},
				"session": schemaObject{
					"type": "apiKey", "in": "cookie", "name": "__Host-gatehouse_session",
					"description": "The cookie of somebody who is signed in with a browser; its name is a setting. Requests that change something also send X-CSRF-Token.",
				},
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
	if op.Security != nil {
		o["security"] = op.Security
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
	schemas[name] = (&openapi.Schemas{Components: schemas}).Of(rt.answer.Elem())
	content := schemaObject{"application/json": schemaObject{"schema": ref(name)}}
	if rt.csv {
		content["text/csv"] = schemaObject{"schema": schemaObject{"type": "string"}}
	}
	op.Responses = schemaObject{"200": schemaObject{"description": rt.summary, "content": content}}
	for status, text := range map[string]string{
		"400": "A parameter is wrong; field names it, errors lists all.", "401": "No key, or a bad one.", "403": "The key may not read.",
		"404": "There is no such company, report or event, or it is not the caller's.", "413": "The parameters are too long.", "429": "Too many requests; send it again after Retry-After seconds.",
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

func ref(name string) schemaObject { return openapi.Ref(name) }
