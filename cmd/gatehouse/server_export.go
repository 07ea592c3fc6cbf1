package main

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"gatehouse/authsvc"
	"gatehouse/query"
)

// headerAccount names, on the control socket, the account that runs a command: whoever may open the socket is believed.
const headerAccount = "X-Gatehouse-Account"

// localReader is whom a local command reads for, and the company that it asks about.
func (s *server) localReader(ctx context.Context, r *http.Request) (query.Caller, error) {
	c, err := s.store.FindCompany(ctx, r.URL.Query().Get("company"))
	if err != nil {
		return query.Caller{}, err
	}
	return s.readerOf(authsvc.Local(r.Header.Get(headerAccount)), &c), nil
}

func (s *server) readerOf(actor *authsvc.Actor, c *authsvc.Company) query.Caller {
	return query.Caller{
		Company: query.Company{ID: c.ID, Name: c.Name, Location: c.Location, MaxSession: c.MaxSession},
		Exports: exporter{s.store, actor, c.ID},
	}
}

// exporter asks the permission table for an actor who takes reports out as files, and tells the audit trail.
type exporter struct {
	store   *authsvc.Store
	actor   *authsvc.Actor
	company uint32
}

// MayExport asks for the permission.
func (e exporter) MayExport() error { return e.actor.Require(authsvc.PermExport, e.company) }

// exportRecord is an export as the audit trail shows it.
type exportRecord struct {
	From   time.Time  `json:"from,omitzero"`
	To     time.Time  `json:"to,omitzero"`
	At     time.Time  `json:"at,omitzero"`
	Params url.Values `json:"parameters,omitempty"`
	Rows   int        `json:"rows"`
}

// Exported records it.
func (e exporter) Exported(ctx context.Context, x query.Export) error {
	action := "report.export"
	if x.Report == query.SearchSpec.Name {
		action = "events.export"
	}
	return e.store.Record(ctx, e.actor, authsvc.Entry{
		Action: action, Company: e.company, TargetKind: "report", TargetName: x.Report,
		After: exportRecord{x.From.UTC(), x.To.UTC(), x.At.UTC(), x.Params, x.Rows},
	})
}
