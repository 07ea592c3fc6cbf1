package authsvc

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"gatehouse/event"
)

// AuditRecord is one entry of the trail as it is read.
type AuditRecord struct {
	Seq        int64     `json:"seq"`
	At         time.Time `json:"at"`
	Action     string    `json:"action"`
	Outcome    Outcome   `json:"outcome"`
	ActorKind  ActorKind `json:"actor_kind"`
	ActorID    uint32    `json:"actor_id,omitempty"` // of a person or key
	ActorName  string    `json:"actor"`
	Company    uint32    `json:"company_id,omitempty"` // 0: it concerns no company in particular
	TargetKind string    `json:"target_kind,omitempty"`
	TargetID   string    `json:"target_id,omitempty"`
	TargetName string    `json:"target,omitempty"`
	Address    string    `json:"address,omitempty"`
	Via        string    `json:"via,omitempty"` // the session, token or key
	RequestID  string    `json:"request_id,omitempty"`

	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	Detail string          `json:"detail,omitempty"`
	Hash   string          `json:"hash"` // of this entry and all before it
}

// AuditFilter says which entries to list; the zero value lists all.
type AuditFilter struct {
	Action     string  // this action, or with "key" or "key." all that begin so
	Outcome    Outcome // empty: any
	ActorKind  ActorKind
	ActorID    uint32 // a person, or with ActorKind a key
	Actor      string // in the actor's name
	Company    uint32 // 0: all that the reader may see
	TargetKind string
	TargetID   string
	Address    netip.Addr
	RequestID  string
	Text       string    // in a name, the address, the detail, or the name of the session or request
	From, To   time.Time // from (included) to (excluded), zero: without end
}

const selectAudit = `SELECT seq, at, action, outcome, actor_kind, actor_id, actor_name, company_id, target_kind, target_id, target_name,
    ip, via, request_id, before_json, after_json, detail, prev_hash, hash FROM audit_log`

const selectSpan = `SELECT first_seq, last_seq FROM audit_head WHERE id = 1`

// ListAudit lists the trail, newest first: all of it for who may read it everywhere, else what concerns the companies where the actor may
// read it. next is the cursor of the following page, empty behind the last; a page of a search by text may be short and have one, see searchRows.
func (s *Store) ListAudit(ctx context.Context, actor *Actor, want AuditFilter, page Page) (list []AuditRecord, next string, err error) {
	const name = "audit"
	limit, err := page.size()
	if err != nil {
		return nil, "", err
	}
	before, err := page.afterID(name, math.MaxInt64)
	if err != nil {
		return nil, "", err
	}
	var f filter
	if err := f.addReach(actor, PermReadAudit, "company_id", want.Company); err != nil {
		return nil, "", err
	}
	if err := want.addTo(&f); err != nil {
		return nil, "", err
	}
	if before > 0 {
		f.add("seq < ?", before)
	}
	below := int64(0)
	if want.Text != "" || want.Actor != "" {
		below, err = searched(&f, "seq", before, func() (first, last int64, err error) {
			err = s.db.QueryRow(ctx, selectSpan).Scan(&first, &last)
			return first, last, err
		})
		if err != nil {
			return nil, "", fail(err, "read the audit trail")
		}
	}
	rows, err := s.auditRows(ctx, s.db, selectAudit+f.where()+` ORDER BY seq DESC`+firstRows(s.db.Dialect(), limit+1), f.args...)
	if err != nil {
		return nil, "", fail(err, "read the audit trail")
	}
	switch {
	case len(rows) > limit:
		rows = rows[:limit]
		next = cursorOf(name, strconv.FormatInt(rows[limit-1].seq, 10))
	case below > 0:
		next = cursorOf(name, strconv.FormatInt(below, 10))
	}
	list = make([]AuditRecord, len(rows))
	for i := range rows {
		list[i] = rows[i].public()
	}
	return list, next, nil
}

func (w *AuditFilter) addTo(f *filter) error {
	switch w.Outcome {
	case "":
	case Succeeded, Failed, Denied:
		f.add("outcome = ?", string(w.Outcome))
	default:
		return event.FieldError("outcome", "must be one of %s, %s, %s", Succeeded, Failed, Denied)
	}
	switch w.ActorKind {
	case "":
		if w.ActorID != 0 {
			f.add("actor_kind = ?", string(ActorPerson))
		}
	case ActorPerson, ActorKey, ActorLocal, ActorSystem, ActorNobody:
		f.add("actor_kind = ?", string(w.ActorKind))
	default:
		return event.FieldError("actor_kind", "must be one of %s, %s, %s, %s, %s", ActorPerson, ActorKey, ActorLocal, ActorSystem, ActorNobody)
	}
	if w.ActorID != 0 {
		f.add("actor_id = ?", int64(w.ActorID))
	}
	for _, exact := range []struct{ column, value string }{{"target_kind", w.TargetKind}, {"target_id", w.TargetID}, {"request_id", w.RequestID}} {
		if exact.value != "" {
			f.add(exact.column+" = ?", withoutNUL(exact.value))
		}
	}
	if w.Address.IsValid() {
		f.add("ip = ?", w.Address.Unmap().WithZone("").String())
	}
	if action := strings.ToLower(strings.TrimSpace(w.Action)); action != "" {
		if !strings.Contains(action, ".") {
			action += "."
		}
		f.addPrefix("action", action)
	}
	f.addAnyCase(w.Actor, "actor_name")
	f.addAnyCase(w.Text, "actor_name", "target_name", "target_id", "ip", "via", "request_id", "detail")
	if !w.From.IsZero() {
		f.add("at >= ?", millis(w.From))
	}
	if !w.To.IsZero() {
		f.add("at < ?", millis(w.To))
	}
	return nil
}

func (s *Store) auditRows(ctx context.Context, q querier, query string, args ...any) (list []auditRow, err error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r auditRow
		if err := rows.Scan(&r.seq, &r.at, &r.action, &r.outcome, &r.actorKind, &r.actorID, &r.actorName, &r.company, &r.targetKind, &r.targetID,
			&r.targetName, &r.ip, &r.via, &r.requestID, &r.before, &r.after, &r.detail, &r.prevHash, &r.hash); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

func (r *auditRow) public() AuditRecord {
	return AuditRecord{
		Seq: r.seq, At: time.UnixMilli(r.at).UTC(), Action: r.action, Outcome: Outcome(r.outcome),
		ActorKind: ActorKind(r.actorKind), ActorID: uint32(r.actorID), ActorName: r.actorName, Company: uint32(r.company), //nolint:gosec // they were 32 bits when they were written
		TargetKind: r.targetKind, TargetID: r.targetID, TargetName: r.targetName, Address: r.ip, Via: r.via, RequestID: r.requestID,
		Before: storedJSON(r.before), After: storedJSON(r.after), Detail: r.detail, Hash: r.hash,
	}
}

// storedJSON is a column of JSON as it can be put into more JSON. One that was damaged becomes a text: it must not break the list, in which
// somebody may be looking for who did it.
func storedJSON(column string) json.RawMessage {
	switch {
	case column == "":
		return nil
	case json.Valid([]byte(column)):
		return json.RawMessage(column)
	}
	text, err := json.Marshal(column)
	if err != nil {
		return nil // never: a text is always JSON
	}
	return text
}
