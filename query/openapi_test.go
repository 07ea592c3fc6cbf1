package query

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func openAPIDocument(t *testing.T, extra ...Operation) map[string]any {
	t.Helper()
	raw, err := OpenAPI(extra...)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// sample is a value that a parameter takes.
func sample(name string, schema map[string]any) string {
	if items, ok := schema["items"].(map[string]any); ok {
		schema = items
	}
	if values, ok := schema["enum"].([]any); ok {
		return fmt.Sprint(values[0])
	}
	switch name {
	case "company":
		return testCompany.Name
	case "tz":
		return "Asia/Kolkata"
	case "from":
		return "-2d"
	case "to", "at", "time":
		return "now"
	case "ip":
		return "10.0.0.7"
	case "logon_id":
		return "0x3e7"
	case "logon_type":
		return "2"
	}
	if low, ok := schema["minimum"].(float64); ok {
		return fmt.Sprint(low)
	}
	return "text"
}

// The document and the routes say the same: every route is in it, every path
// of it is served, every documented parameter is taken, and every one that is
// taken is documented.
func TestOpenAPIHoldsTheRoutes(t *testing.T) {
	doc := openAPIDocument(t)
	if doc["openapi"] != "3.1.0" {
		t.Errorf("version %v", doc["openapi"])
	}
	paths := doc["paths"].(map[string]any)
	api, err := NewAPI(New(nil, Options{}), nil, APIOptions{})
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, rt := range api.Routes() {
		if rt.Path == ReportsPath+"{name}" { // answers for what does not exist
			continue
		}
		served[rt.Path] = true
		item, _ := paths[rt.Path].(map[string]any)
		if item[strings.ToLower(rt.Method)] == nil {
			t.Errorf("%s %s is served and not documented", rt.Method, rt.Path)
		}
	}
	ids := map[string]bool{}
	for path, item := range paths {
		if !served[path] {
			t.Errorf("%s is documented and not served", path)
		}
		for method, op := range item.(map[string]any) {
			o := op.(map[string]any)
			if id := fmt.Sprint(o["operationId"]); ids[id] {
				t.Errorf("the operation id %s is there twice", id)
			} else {
				ids[id] = true
			}
			if method != "get" || o["summary"] == "" || o["responses"].(map[string]any)["200"] == nil {
				t.Errorf("%s %s is documented poorly", method, path)
			}
			i := slices.IndexFunc(allRoutes(), func(rt *route) bool { return rt.path == path })
			if i < 0 {
				continue
			}
			checkParameters(t, allRoutes()[i], o)
		}
	}
}

func checkParameters(t *testing.T, rt *route, operation map[string]any) {
	t.Helper()
	spec, path := rt.spec, rt.path
	documented := map[string]bool{}
	parameters, _ := operation["parameters"].([]any)
	for _, raw := range parameters {
		parameter := raw.(map[string]any)
		name := fmt.Sprint(parameter["name"])
		if parameter["in"] == "path" {
			if !strings.Contains(path, "{"+name+"}") || parameter["required"] != true {
				t.Errorf("%s has no part %s", path, name)
			}
			continue
		}
		documented[name] = true
		if parameter["description"] == "" {
			t.Errorf("%s: %s has no description", path, name)
		}
		if name == "cursor" {
			continue // only those that we made are taken
		}
		value := sample(name, parameter["schema"].(map[string]any))
		if _, err := ParseParams(spec, testCompany, testNow, url.Values{name: {value}}); err != nil {
			t.Errorf("%s: the documented %s=%s is refused: %v", path, name, value, err)
		}
	}
	for _, def := range paramOrder {
		_, err := ParseParams(spec, testCompany, testNow, url.Values{def.Name: {""}})
		if (err == nil) != documented[def.Name] {
			t.Errorf("%s: %s documented: %v, taken: %v", path, def.Name, documented[def.Name], err)
		}
	}
}

// The documented default of a parameter is what its absence means, and every report may be
// asked too often.
func TestOpenAPIDefaults(t *testing.T) {
	paths := openAPIDocument(t)["paths"].(map[string]any)
	for _, rt := range allRoutes() {
		operation := paths[rt.path].(map[string]any)["get"].(map[string]any)
		if operation["responses"].(map[string]any)["429"] == nil {
			t.Errorf("%s does not tell of 429", rt.path)
		}
		parameters, _ := operation["parameters"].([]any)
		for _, raw := range parameters {
			parameter := raw.(map[string]any)
			name := fmt.Sprint(parameter["name"])
			if name != "type" && name != "account" {
				continue
			}
			var standard []string
			for _, v := range parameter["schema"].(map[string]any)["default"].([]any) {
				standard = append(standard, fmt.Sprint(v))
			}
			absent, err := ParseParams(rt.spec, testCompany, testNow, url.Values{})
			if err != nil {
				t.Fatal(err)
			}
			sent, err := ParseParams(rt.spec, testCompany, testNow, url.Values{name: {strings.Join(standard, ",")}})
			if err != nil || !slices.Equal(sent.Types, absent.Types) || !slices.Equal(sent.Accounts, absent.Accounts) {
				t.Errorf("%s: %s=%v is not what its absence means: %v", rt.path, name, standard, err)
			}
		}
	}
}

// Every reference leads somewhere.
func TestOpenAPIReferences(t *testing.T) {
	raw, err := OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	doc := openAPIDocument(t)
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for _, m := range regexp.MustCompile(`"#/components/schemas/([^"]+)"`).FindAllSubmatch(raw, -1) {
		if o, _ := schemas[string(m[1])].(map[string]any); len(o) == 0 {
			t.Errorf("there is no schema %s", m[1])
		}
	}
}

// What is served is what is documented, field by field.
func TestAnswersMatchTheirSchemas(t *testing.T) {
	a := newTestAPI(t)
	doc := openAPIDocument(t)
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	check := func(target string, status int, schema map[string]any) {
		t.Helper()
		w := a.get(target, a.one.Name)
		var body any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != status {
			t.Fatalf("%s: %d %v", target, w.Code, err)
		}
		for _, problem := range mismatches(schemas, schema, body, "") {
			t.Errorf("%s: %s", target, problem)
		}
	}
	for _, rt := range allRoutes() {
		schema := schemas[rt.answer.Elem().Name()].(map[string]any)
		target := strings.ReplaceAll(rt.path, "{id}", a.events[1].ID().String())
		switch {
		case slices.Contains(rt.spec.Params, "at"):
			target += "?at=2025-11-18T09:00:00Z"
		case slices.Contains(rt.spec.Params, "from"):
			target += "?from=2025-11-17&to=2025-11-20"
		default:
			target += "?company=" + a.one.Name
		}
		check(target, 200, schema)
		for _, by := range rt.spec.GroupBy {
			check(target+"&group_by="+by, 200, schema)
		}
		check(target+"&sparkle=1&limit=x", 400, schemas["Error"].(map[string]any))
	}
}

// mismatches holds a value to a schema, as far as our schemas go.
func mismatches(schemas, schema map[string]any, value any, at string) (out []string) {
	if to, ok := schema["$ref"].(string); ok {
		return mismatches(schemas, schemas[strings.TrimPrefix(to, "#/components/schemas/")].(map[string]any), value, at)
	}
	var types []string
	switch kind := schema["type"].(type) {
	case string:
		types = []string{kind}
	case []any:
		for _, k := range kind {
			types = append(types, fmt.Sprint(k))
		}
	}
	kind := ""
	switch v := value.(type) {
	case nil:
		kind = "null"
	case string:
		kind = "string"
		if schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, v); err != nil {
				out = append(out, at+" is no time: "+v)
			}
		}
	case bool:
		kind = "boolean"
	case float64:
		if kind = "number"; v == float64(int64(v)) && !slices.Contains(types, "number") {
			kind = "integer"
		}
	case []any:
		kind = "array"
		for i, item := range v {
			out = append(out, mismatches(schemas, schema["items"].(map[string]any), item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		kind = "object"
		properties := schema["properties"].(map[string]any)
		for name, field := range v {
			property, ok := properties[name].(map[string]any)
			if !ok {
				out = append(out, at+"."+name+" is not documented")
				continue
			}
			out = append(out, mismatches(schemas, property, field, at+"."+name)...)
		}
		for _, name := range schema["required"].([]any) {
			if _, ok := v[name.(string)]; !ok {
				out = append(out, at+"."+name.(string)+" is missing")
			}
		}
	}
	if !slices.Contains(types, kind) {
		out = append(out, fmt.Sprintf("%s is %s, not %v", at, kind, types))
	}
	return out
}

// Other packages' operations go into the same document, once each.
func TestOpenAPIOfOthers(t *testing.T) {
	post := Operation{Method: "POST", Path: EventsPath, ID: "ingest", Summary: "Send events", Responses: map[string]any{"200": map[string]any{"description": "taken"}}}
	item := openAPIDocument(t, post)["paths"].(map[string]any)[EventsPath].(map[string]any)
	if item["post"] == nil || item["get"] == nil {
		t.Errorf("%v", item)
	}
	if _, err := OpenAPI(post, post); err == nil {
		t.Error("an operation was documented twice")
	}
	if _, err := OpenAPI(Operation{Method: http.MethodGet, Path: EventsPath, ID: "other"}); err == nil {
		t.Error("a route of ours was documented by another")
	}
}
