package main

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"

	"gatehouse/event"
	"gatehouse/query"
)

// TestOpenAPIHoldsTheRoutes walks what the server really routes and what the document
// says, both ways.
func TestOpenAPIHoldsTheRoutes(t *testing.T) {
	s := startTestServer(t)
	handler, err := s.publicRoutes()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := query.OpenAPI(operations()...)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("openapi %q", doc.OpenAPI)
	}
	routed := map[string]bool{}
	err = handler.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := route.GetMethods()
		if err != nil { // checks the method itself
			methods = []string{http.MethodPost}
		}
		for _, m := range methods {
			if m == http.MethodHead {
				continue
			}
			routed[m+" "+path] = true
			if path == query.ReportsPath+"{name}" { // only says that there is no such report
				continue
			}
			if doc.Paths[path][strings.ToLower(m)] == nil {
				t.Errorf("%s %s is routed and not documented", m, path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths {
		for m := range item {
			if m := strings.ToUpper(m) + " " + path; m != "PARAMETERS "+path && !routed[m] {
				t.Errorf("%s is documented and not routed", m)
			}
		}
	}
}

// TestUnknownPaths asks the server for what it does not have: the answer under /api/ has
// the form of every error of the API.
func TestUnknownPaths(t *testing.T) {
	s := startTestServer(t)
	c := testClient(t, s)
	for _, want := range []struct {
		method, path, allow string
		status              int
	}{
		{http.MethodGet, "/api/v1/nothing", "", 404},
		{http.MethodGet, "/api/", "", 404},
		{http.MethodGet, "/api/v1/reports/totals/", "", 404},
		{http.MethodPost, "/api/v1/reports/totals", "GET, HEAD", 405},
		{http.MethodDelete, "/api/v1/events", "GET, HEAD, POST", 405},
		{http.MethodTrace, "/api/v1/reports/totals", "GET, HEAD", 405},
	} {
		req, err := http.NewRequestWithContext(t.Context(), want.method, s.url+want.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Status, Message, Code string
			RequestID             string `json:"request_id"`
		}
		err = errors.Join(json.NewDecoder(resp.Body).Decode(&body), resp.Body.Close())
		if err != nil || resp.StatusCode != want.status || body.Status != "error" || body.Message == "" || body.RequestID == "" ||
			body.RequestID != resp.Header.Get("X-Request-Id") || resp.Header.Get("Allow") != want.allow {
			t.Errorf("%s %s: %d %+v %v, allow %q", want.method, want.path, resp.StatusCode, body, err, resp.Header.Get("Allow"))
		}
	}
}

// What the description of an event calls required is refused when it is missing, and
// nothing else is; each name that it lists is read.
func TestDescriptionOfAnEvent(t *testing.T) {
	schema := eventSchema()
	for name := range schema["properties"].(object) {
		if _, ok := event.FieldByName(name); !ok {
			t.Errorf("%s is documented and not read", name)
		}
	}
	parse := func(values map[string]string) error {
		var f event.Fields
		for name, value := range values {
			id, ok := event.FieldByName(name)
			if !ok {
				t.Fatal(name)
			}
			f[id] = []byte(value)
		}
		_, err := f.Parse(&event.ParseOptions{Now: time.Now(), Location: time.UTC, CompanyID: 1})
		return err
	}
	for _, choice := range schema["anyOf"].([]object) {
		need := slices.Concat(schema["required"].([]string), choice["required"].([]string))
		values := map[string]string{}
		for _, name := range need {
			values[name] = map[string]string{"ComputerName": "PC", "Timestamp": "2025-05-25T14:30:00Z", "EventType": "startup", "EventID": "4624"}[name]
		}
		if err := parse(values); err != nil {
			t.Errorf("with %v: %v", need, err)
		}
		for _, name := range need {
			less := maps.Clone(values)
			delete(less, name)
			if parse(less) == nil {
				t.Errorf("%v was taken", less)
			}
		}
	}
}
