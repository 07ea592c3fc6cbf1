package rest

import (
	"net/http"
	"reflect"
)

// Description is what the API's documentation says of a route.
type Description struct {
	Method, Path string
	Does         string
	Open         bool // needs no sign-in
	Apart        bool // does not look at a session, so that no CSRF token is needed
	Params       []Param
	Body, Answer reflect.Type // nil: none
	Picture      bool         // the answer is a PNG file
	Redirect     bool         // the answer sends the browser elsewhere
	Status       int          // of success
	Optional     bool         // answers 404 where it is not set up
}

// Param is one parameter of a query. Kind is a type or format of JSON Schema.
type Param struct {
	Name, Kind, Does string
	Several          bool // may be given more than once
}

// Describe describes all routes, in the order of the table.
func Describe() []Description {
	table := routes()
	list := make([]Description, len(table))
	for i, rt := range table {
		d := Description{Method: rt.method, Path: rt.path, Does: rt.does, Open: rt.access == anyone || rt.access == apart, Apart: rt.access == apart, Status: rt.status, Optional: rt.optional}
		for _, p := range rt.params {
			if p.name == anyParam {
				continue
			}
			if p.kind == several {
				d.Params = append(d.Params, Param{p.name, "string", p.does, true})
				continue
			}
			d.Params = append(d.Params, Param{p.name, p.kind, p.does, false})
		}
		if rt.body != nil {
			d.Body = reflect.TypeOf(rt.body)
		}
		_, d.Picture = rt.answer.(picture)
		if _, d.Redirect = rt.answer.(redirect); rt.answer != nil && !d.Picture && !d.Redirect {
			d.Answer = reflect.TypeOf(rt.answer)
		}
		if d.Status == 0 {
			d.Status = http.StatusOK
			if rt.answer == nil {
				d.Status = http.StatusNoContent
			}
		}
		list[i] = d
	}
	return list
}
