package main

import (
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"gatehouse/authsvc"
	"gatehouse/authsvc/rest"
	"gatehouse/internal/openapi"
	"gatehouse/query"
)

// operations describe the routes that package query does not know of.
func operations() []query.Operation {
	return slices.Concat(intakeOperations(), accountOperations())
}

// accountOperations describe the routes of accounts, from their own table.
func accountOperations() []query.Operation {
	var list []query.Operation
	for _, d := range rest.Describe() {
		list = append(list, accountOperation(&d))
	}
	return list
}

func accountOperation(d *rest.Description) query.Operation {
	schemas := &openapi.Schemas{Components: object{}, Name: schemaName, Known: map[reflect.Type]object{
		reflect.TypeFor[authsvc.Scopes](): {"type": "array", "items": object{"type": "string"}},
	}}
	op := query.Operation{
		Method: d.Method, Path: d.Path, ID: operationID(d), Tag: strings.Split(d.Path, "/")[3], Summary: d.Does,
		NoAuth: d.Open, Parameters: pathParameters(d.Path), Schemas: schemas.Components,
	}
	for _, p := range d.Params {
		op.Parameters = append(op.Parameters, object{"name": p.Name, "in": "query", "description": p.Does, "schema": paramSchema(p)})
	}
	if changes := d.Method != http.MethodGet; changes && !d.Apart {
		op.Parameters = append(op.Parameters, object{
			"name": "X-CSRF-Token", "in": "header", "schema": object{"type": "string"},
			"description": "csrf_token of GET /api/v1/auth/csrf or of the sign-in; for requests by cookie.",
		})
	}
	if d.Body != nil {
		op.RequestBody = object{"required": true, "content": inJSON(schemas.Of(d.Body))}
	}
	op.Responses = object{fmt.Sprint(d.Status): accountAnswer(d, schemas)}
	for status, text := range accountErrors(d) {
		op.Responses[status] = query.ErrorResponse(text)
	}
	return op
}

// schemaName sets the types of accounts apart from those of reports.
func schemaName(t reflect.Type) string {
	if strings.HasSuffix(t.PkgPath(), "/websession") {
		return "WebSession"
	}
	return strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
}

var notLetters = regexp.MustCompile(`[^a-zA-Z]+`)

// operationID is the method and the path in one word, such as postUsersUserApprove.
func operationID(d *rest.Description) string {
	id := strings.ToLower(d.Method)
	for _, word := range notLetters.Split(strings.TrimPrefix(d.Path, "/api/v1/"), -1) {
		if word != "" {
			id += strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return id
}

var inBraces = regexp.MustCompile(`\{([a-z]+)\}`)

func pathParameters(path string) (list []object) {
	for _, m := range inBraces.FindAllStringSubmatch(path, -1) {
		schema := object{"type": "integer", "minimum": 1}
		if slices.Contains([]string{"session", "program", "name", "domain"}, m[1]) {
			schema = object{"type": "string"}
		}
		list = append(list, object{"name": m[1], "in": "path", "required": true, "schema": schema})
	}
	return list
}

func paramSchema(p rest.Param) object {
	schema := object{"type": p.Kind}
	if p.Kind == "date" || p.Kind == "date-time" {
		schema = object{"type": "string", "format": p.Kind}
	}
	if p.Several {
		return object{"type": "array", "items": schema}
	}
	return schema
}

func inJSON(schema object) object { return object{"application/json": object{"schema": schema}} }

func accountAnswer(d *rest.Description, schemas *openapi.Schemas) object {
	answer := object{"description": d.Does}
	switch {
	case d.Picture:
		answer["content"] = object{"image/png": object{"schema": object{"type": "string", "contentMediaType": "image/png"}}}
	case d.Answer != nil:
		answer["content"] = inJSON(schemas.Of(d.Answer))
	}
	return answer
}

func accountErrors(d *rest.Description) map[string]string {
	list := map[string]string{
		"400": "A parameter or field is wrong; field names it.", "429": "Too often; Retry-After says when to try again.",
		"500": "Our fault; request_id finds it in the log.", "503": "Try again after Retry-After seconds.",
	}
	if !d.Open {
		list["403"] = "What is asked is not allowed, or the request came from another site, or something is missing of the sign-in."
	}
	if !d.Open || d.Body != nil {
		list["401"] = "Not signed in, or what proves it is wrong or has ended."
	}
	if strings.Contains(d.Path, "{") {
		list["404"] = "There is no such thing, or it is not the caller's to know of."
	}
	if d.Optional {
		list["404"] = "It is not set up on this server."
	}
	if d.Method != http.MethodGet {
		list["403"] = "What is asked is not allowed, or the request came from another site, or something is missing of the sign-in."
		list["409"] = "Something is in the way, which the message names."
		list["413"] = "The body is too long."
		list["415"] = "The body is not JSON."
	}
	return list
}
