package query

import (
	"context"
	"net/http"
	"reflect"
	"strings"

	"gatehouse/event"
)

// Paths of the API.
const (
	ReportsPath = "/api/v1/reports/"
	EventsPath  = "/api/v1/events"
	OpenAPIPath = "/api/openapi.json"
)

// route is one thing that can be asked. The router, the parameter check, the
// documentation and the list of reports all come from the same table.
type route struct {
	path        string
	spec        *Spec
	summary     string
	description string
	answer      reflect.Type // a pointer to what run gives
	csv         bool         // has rows, so that it can be given as CSV
	run         func(ctx context.Context, r *Reports, c Company, p Params, req *http.Request) (any, error)
}

// report makes the route of a report.
func report[T any](spec *Spec, summary, description string, run func(*Reports, context.Context, Company, Params) (*T, error)) *route {
	return &route{
		path: ReportsPath + spec.Name, spec: spec, summary: summary, description: description,
		answer: reflect.TypeFor[*T](), csv: true,
		run: func(ctx context.Context, r *Reports, c Company, p Params, _ *http.Request) (any, error) {
			return run(r, ctx, c, p)
		},
	}
}

var routes = []*route{
	report(TimeSpentSpec, "Time spent signed in",
		"Signed-in, active and paused time, clipped to the range, by any of user, computer, site, company and local day. A person's overlapping sessions count once; sum_ columns add them up.", (*Reports).TimeSpent),
	report(SessionsSpec, "Sessions",
		"The sessions that touch the range, whole, in the order of their start, each with how it ended and how sure that is.", (*Reports).Sessions),
	report(SignedInSpec, "Who is, or was, signed in",
		"The sessions open at an instant: now, or the one given.", (*Reports).SignedIn),
	report(FrequencySpec, "How often people sign in",
		"Counts events (logons of people, unless said otherwise) by hour, day, hour of the day, weekday and hour, user, computer or site. Buckets of time without an event are there with 0.", (*Reports).Frequency),
	report(FailuresSpec, "Failed sign-ins",
		"Failures by user, computer, address, reason or site, with bursts (many failures of one user or address in a short time) and password sprays (many users from one address).", (*Reports).Failures),
	report(TotalsSpec, "A company in a few figures",
		"Active users, peaks of concurrency, first and last event, sign-ins, failures, and the events by type.", (*Reports).Totals),
	report(FirstLastSpec, "First and last sign of each person on each day",
		"By local day and user: first and last logon, last logoff, and the first and last event of presence.", (*Reports).FirstLast),
	report(CoverageSpec, "How well each computer is heard",
		"Per computer: first and last event, missing record ids, clock skew, ingest lag, and flags that tell blind from quiet.", (*Reports).Coverage),
	{
		path: EventsPath, spec: SearchSpec, summary: "Search events",
		description: "Events that match every filter, newest first, in pages. Names match whole and without regard to case; q matches beginnings.",
		answer:      reflect.TypeFor[*SearchReport](), csv: true,
		run: func(ctx context.Context, r *Reports, c Company, p Params, _ *http.Request) (any, error) {
			return r.Search(ctx, c, p)
		},
	},
	{
		path: EventsPath + "/{id}", spec: EventSpec, summary: "One event",
		description: "The event with an id, as the search gives it.",
		answer:      reflect.TypeFor[*EventReport](),
		run: func(ctx context.Context, r *Reports, c Company, p Params, req *http.Request) (any, error) {
			id, err := event.ParseID(strings.ToLower(strings.TrimPrefix(req.URL.Path, EventsPath+"/")))
			if err != nil {
				return nil, err
			}
			return r.Event(ctx, c, p, id)
		},
	},
}

// ReportInfo describes a report, for lists and help texts.
type ReportInfo struct {
	Spec        *Spec
	Summary     string
	Description string
}

// ListReports lists the reports under /api/v1/reports.
func ListReports() []ReportInfo {
	var out []ReportInfo
	for _, rt := range routes {
		if strings.HasPrefix(rt.path, ReportsPath) {
			out = append(out, ReportInfo{Spec: rt.spec, Summary: rt.summary, Description: rt.description})
		}
	}
	return out
}

// ParameterHelp is what a parameter means, for help texts.
func ParameterHelp(name string) string {
	if d := paramDefs[name]; d != nil {
		return d.Description
	}
	return ""
}
