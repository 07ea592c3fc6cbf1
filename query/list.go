package query

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// ListPath is where the reports are listed.
const ListPath = "/api/v1/reports"

// ListSpec is the parameters of the list of reports.
var ListSpec = &Spec{Name: "reports", Params: []string{"company", "format"}}

// ListReport is what can be asked.
type ListReport struct {
	Rows []ReportEntry `json:"rows"`
}

// ReportEntry is one report as the list tells of it.
type ReportEntry struct {
	Name        string           `json:"name"`
	Path        string           `json:"path"`
	Summary     string           `json:"summary"`
	Description string           `json:"description"`
	GroupBy     []string         `json:"group_by"` // what group_by takes; empty where there is none
	Parameters  []ParameterEntry `json:"parameters"`
}

// ParameterEntry is one parameter of a report.
type ParameterEntry struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Values      []string `json:"values"` // the only ones it takes; empty: see the description
	Several     bool     `json:"several"`
}

// listRoute lists the reports. It reads the table of routes and so cannot stand in it.
var listRoute = &route{
	path: ListPath, spec: ListSpec, summary: "The reports",
	description: "What each report answers and which parameters it takes.",
	answer:      reflect.TypeFor[*ListReport](), csv: true,
	run: func(context.Context, *Reports, Company, Params, *http.Request) (any, error) {
		return listReports(), nil
	},
}

// allRoutes is the table of routes with what stands apart from it.
func allRoutes() []*route { return append([]*route{listRoute}, routes...) }

func listReports() *ListReport {
	out := &ListReport{}
	for _, rt := range routes {
		if !strings.HasPrefix(rt.path, ReportsPath) {
			continue
		}
		entry := ReportEntry{Name: rt.spec.Name, Path: rt.path, Summary: rt.summary, Description: rt.description, GroupBy: append([]string{}, rt.spec.GroupBy...)}
		for _, d := range paramOrder {
			if slices.Contains(rt.spec.Params, d.Name) {
				entry.Parameters = append(entry.Parameters, d.entry(rt.spec))
			}
		}
		out.Rows = append(out.Rows, entry)
	}
	return out
}

func (d *paramDef) entry(s *Spec) ParameterEntry {
	schema := d.schema(s)
	out := ParameterEntry{Name: d.Name, Description: d.Description, Values: []string{}, Several: d.several(s)}
	if items, ok := schema["items"].(schemaObject); ok {
		schema = items
	}
	if values, ok := schema["enum"].([]string); ok {
		out.Values = values
	}
	return out
}

// several tells whether a report's parameter may have several values.
func (d *paramDef) several(s *Spec) bool { return d.list && (d.Name != "group_by" || s.GroupMany) }
