package query

import (
	"context"
	"net/url"
	"slices"
	"time"

	"gatehouse/event"
)

// Exporter stands for a caller's right to take rows out as a file, and for the record of it.
type Exporter interface {
	// MayExport is asked before the report is made. Its *event.Error refuses the request.
	MayExport() error
	// Exported is told when the rows are there and none has been given out; with an error none is.
	Exported(ctx context.Context, x Export) error
}

// Export is what somebody takes out.
type Export struct {
	Report   string // its name, SearchSpec's for events
	From, To time.Time
	At       time.Time  // where the report is of an instant, else zero
	Params   url.Values // what else was asked for
	Rows     int
}

func (c *Caller) mayExport() error {
	if c.Exports == nil {
		return event.Errorf(event.CodeForbidden, "you may not take reports out as files")
	}
	return c.Exports.MayExport()
}

func exportOf(spec *Spec, p *Params, given url.Values, answer any) Export {
	x := Export{Report: spec.Name, From: p.From, To: p.To, Params: url.Values{}}
	if slices.Contains(spec.Params, "at") {
		x.At = p.At
	}
	for name, values := range given {
		switch name {
		case "company", "format", "from", "to", "at":
		default:
			x.Params[name] = values
		}
	}
	if rows := rowsOf(answer); rows.IsValid() {
		x.Rows = rows.Len()
	}
	return x
}
