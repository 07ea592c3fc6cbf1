package rest

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/gorilla/mux"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// clearedView tells how many records were removed.
type clearedView struct {
	Removed int64 `json:"removed"`
}

var trailRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/audit", does: "The audit trail, newest first", answer: list[authsvc.AuditRecord]{},
		params: append([]param{
			{"action", "string", "This action; with key, all that begin with key."},
			{"outcome", "string", "success, failure or denied."},
			{"actor", "string", "In the name of who did it; a page may be short, as with q."},
			{"actor_kind", "string", "person, key, local (the command line), system (Gatehouse itself) or nobody (not signed in)."},
			{"actor_id", "integer", "Of a person, or with actor_kind=key of a key."},
			{"company", "integer", "What concerns this company."},
			{"target_kind", "string", "user, company, key, setting, …"},
			{"target_id", "string", "Its id."},
			{"address", "string", "From where."},
			{"request_id", "string", "Of one request."},
			{"q", "string", "In names, the address, the detail. One page looks at 10,000 entries: it may be short or empty and still have a next_cursor."},
			{"from", "date-time", "From then on."},
			{"to", "date-time", "Before then."},
		}, pageParams...),
		run: listAudit,
	},
	{
		method: http.MethodGet, path: "/api/v1/audit/verify", perm: authsvc.PermVerifyAudit, does: "Check that nothing in the audit trail was changed or removed", answer: authsvc.AuditCheck{},
		params: []param{
			{"anchor", several, "SEQ:HASH:FIRST of an entry, as kept elsewhere."},
			{"purged", several, "SEQ:HASH of an entry by which the server, as its log says, removed old ones."},
		},
		run: func(c *call) (any, error) {
			var anchors []authsvc.AuditAnchor
			for _, name := range []string{"anchor", "purged"} {
				for _, text := range c.query[name] {
					anchor, err := authsvc.ParseAuditAnchor(text)
					if err != nil {
						return nil, err
					}
					anchor.Removal = name == "purged"
					anchors = append(anchors, anchor)
				}
			}
			return c.api.store.VerifyAudit(c.ctx, c.actor, anchors...)
		},
	},
	{
		method: http.MethodGet, path: "/api/v1/errors", perm: authsvc.PermReadErrors, does: "The error log, newest first", answer: list[authsvc.ErrorRecord]{},
		params: append([]param{
			{"level", "string", "DEBUG, INFO, WARN or ERROR, and above."},
			{"logger", "string", "This part of the program."},
			{"q", "string", "In the message. One page looks at 10,000 records: it may be short or empty and still have a next_cursor."},
			{"user_id", "integer", "Of requests by this person."},
			{"request_id", "string", "Of one request."},
			{"fingerprint", "string", "Equal ones."},
			{"from", "date-time", "Last seen from then on."},
			{"to", "date-time", "Last seen before then."},
		}, pageParams...),
		run: listErrors,
	},
	{method: http.MethodGet, path: "/api/v1/errors/{error}", perm: authsvc.PermReadErrors, does: "One record of the error log, with its stack", answer: authsvc.ErrorRecord{}, run: func(c *call) (any, error) {
		id, err := strconv.ParseInt(mux.Vars(c.r)["error"], 10, 64)
		if err != nil || id <= 0 {
			return nil, event.Errorf(event.CodeNotFound, "there is nothing at this address")
		}
		return c.api.store.GetError(c.ctx, c.actor, id)
	}},
	{
		method: http.MethodDelete, path: "/api/v1/errors", perm: authsvc.PermClearErrors, does: "Clear the error log", answer: clearedView{},
		params: []param{{"before", "date-time", "What was last seen before then (required)."}},
		run: func(c *call) (any, error) {
			before, err := c.moment("before")
			if err != nil {
				return nil, err
			}
			if before.IsZero() {
				return nil, event.FieldError("before", "is missing: say until when records are removed")
			}
			n, err := c.api.store.ClearErrors(c.ctx, c.actor, before)
			return clearedView{n}, err
		},
	},
}

func listAudit(c *call) (any, error) {
	page, err := c.page()
	if err != nil {
		return nil, err
	}
	want := authsvc.AuditFilter{
		Action: c.text("action"), Outcome: authsvc.Outcome(c.text("outcome")), Actor: c.text("actor"), ActorKind: authsvc.ActorKind(c.text("actor_kind")), TargetKind: c.text("target_kind"),
		TargetID: c.text("target_id"), RequestID: c.text("request_id"), Text: c.text("q"),
	}
	if want.Company, err = c.companyParam(); err != nil {
		return nil, err
	}
	if want.ActorID, err = c.idParam("actor_id"); err != nil {
		return nil, err
	}
	if text := c.text("address"); text != "" {
		if want.Address, err = netip.ParseAddr(text); err != nil {
			return nil, event.FieldError("address", "must be an IP address")
		}
	}
	if want.From, err = c.moment("from"); err != nil {
		return nil, err
	}
	if want.To, err = c.moment("to"); err != nil {
		return nil, err
	}
	rows, next, err := c.api.store.ListAudit(c.ctx, c.actor, want, page)
	if err != nil {
		return nil, err
	}
	return listOf(rows, itself, next), nil
}

// idParam is a parameter that names a person or key, 0 where it is not given.
func (c *call) idParam(name string) (uint32, error) {
	id, err := c.number(name)
	if err != nil {
		return 0, err
	}
	if id < 0 || id > 1<<31-1 {
		return 0, event.FieldError(name, "must be an id")
	}
	return uint32(id), nil
}

func listErrors(c *call) (any, error) {
	page, err := c.page()
	if err != nil {
		return nil, err
	}
	want := authsvc.ErrorFilter{Logger: c.text("logger"), Text: c.text("q"), RequestID: c.text("request_id"), Fingerprint: c.text("fingerprint")}
	if want.UserID, err = c.idParam("user_id"); err != nil {
		return nil, err
	}
	if text := c.text("level"); text != "" {
		var level slog.Level
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return nil, event.FieldError("level", "must be DEBUG, INFO, WARN or ERROR")
		}
		want.Level = &level
	}
	if want.From, err = c.moment("from"); err != nil {
		return nil, err
	}
	if want.To, err = c.moment("to"); err != nil {
		return nil, err
	}
	rows, next, err := c.api.store.ListErrors(c.ctx, c.actor, want, page)
	if err != nil {
		return nil, err
	}
	return listOf(rows, itself, next), nil
}
