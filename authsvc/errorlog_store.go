package authsvc

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"strconv"
	"time"

	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// errorRow is a row of the error log before it is written.
type errorRow struct {
	first, last int64 // Unix milliseconds
	occurrences int64
	level       slog.Level
	logger      string
	message     string
	fingerprint string
	requestID   string
	userID      int64
	ip          string
	attributes  string // a JSON object
	stack       string
}

const (
	insertError = `INSERT INTO error_log (first_at, last_at, occurrences, level, logger, message, fingerprint, request_id, user_id, ip, attributes, stack)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	addToError = `UPDATE error_log SET occurrences = occurrences + ?, last_at = CASE WHEN last_at < ? THEN ? ELSE last_at END WHERE id = ?`
)

// saveErrors writes rows, each to the one that is open for it or as a new one, and gives their ids.
func (s *Store) saveErrors(ctx context.Context, rows []*errorRow, open map[string]openError) (ids []int64, err error) {
	err = s.db.Update(ctx, func(tx *reldb.Tx) error {
		ids = make([]int64, len(rows)) // anew: the transaction may be tried again
		for i, row := range rows {
			if known, ok := open[row.fingerprint]; ok {
				n, err := tx.Exec(ctx, addToError, row.occurrences, row.last, row.last, known.id)
				if err != nil {
					return err
				}
				if n > 0 {
					ids[i] = known.id
					continue
				} // else it has been cleared meanwhile
			}
			id, err := tx.Insert(ctx, insertError, row.first, row.last, row.occurrences, int(row.level), row.logger, row.message, row.fingerprint,
				row.requestID, row.userID, row.ip, row.attributes, row.stack)
			if err != nil {
				return err
			}
			ids[i] = id
		}
		return nil
	})
	return ids, err
}

// ErrorRecord is one row of the error log: equal records within a minute are one.
type ErrorRecord struct {
	ID          int64           `json:"id"`
	First       time.Time       `json:"first_at"`
	Last        time.Time       `json:"last_at"`
	Occurrences int64           `json:"occurrences"`
	Level       slog.Level      `json:"level"`
	Logger      string          `json:"logger,omitempty"` // the part of the program
	Message     string          `json:"message"`
	Fingerprint string          `json:"fingerprint"`          // the same for equal records
	RequestID   string          `json:"request_id,omitempty"` // of the first of them, as are the following
	UserID      uint32          `json:"user_id,omitempty"`
	Address     string          `json:"address,omitempty"`
	Attributes  json.RawMessage `json:"attributes,omitempty"`
	Stack       string          `json:"stack,omitempty"` // not in lists
}

// ErrorFilter says which records to list; the zero value lists all.
type ErrorFilter struct {
	Level       *slog.Level // at or above
	Logger      string      // this one, and those under it
	Text        string      // in the message
	RequestID   string
	UserID      uint32
	Fingerprint string
	From, To    time.Time // last seen from (included) to (excluded), zero: without end
}

const (
	errorColumns    = `id, first_at, last_at, occurrences, level, logger, message, fingerprint, request_id, user_id, ip, attributes`
	selectErrors    = `SELECT ` + errorColumns + `, '' FROM error_log`
	selectError     = `SELECT ` + errorColumns + `, stack FROM error_log WHERE id = ?`
	selectErrorSpan = `SELECT COALESCE(MIN(id), 0), COALESCE(MAX(id), 0) FROM error_log`
	clearErrors     = `DELETE FROM error_log WHERE last_at < ?`
)

// ListErrors lists the error log, newest first, without stacks. next is the cursor of the following page, empty behind the last; a page of a search by
// text may be short and have one, see searchRows.
func (s *Store) ListErrors(ctx context.Context, actor *Actor, want ErrorFilter, page Page) (list []ErrorRecord, next string, err error) {
	const name = "errors"
	if err := actor.Require(PermReadErrors, 0); err != nil {
		return nil, "", err
	}
	limit, err := page.size()
	if err != nil {
		return nil, "", err
	}
	before, err := page.afterID(name, maxID)
	if err != nil {
		return nil, "", err
	}
	var f filter
	want.addTo(&f)
	if before > 0 {
		f.add("id < ?", before)
	}
	below := int64(0)
	if want.Text != "" {
		below, err = searched(&f, "id", before, func() (first, last int64, err error) {
			err = s.db.QueryRow(ctx, selectErrorSpan).Scan(&first, &last)
			return first, last, err
		})
		if err != nil {
			return nil, "", fail(err, "read the error log")
		}
	}
	rows, err := s.db.Query(ctx, selectErrors+f.where()+` ORDER BY id DESC`+firstRows(s.db.Dialect(), limit+1), f.args...)
	if err != nil {
		return nil, "", fail(err, "read the error log")
	}
	defer func() { err = fail(errors.Join(err, rows.Close()), "read the error log") }()
	for rows.Next() {
		r, err := scanError(rows.Scan)
		if err != nil {
			return nil, "", err
		}
		list = append(list, r)
	}
	switch {
	case len(list) > limit:
		list = list[:limit]
		next = cursorOf(name, strconv.FormatInt(list[limit-1].ID, 10))
	case below > 0:
		next = cursorOf(name, strconv.FormatInt(below, 10))
	}
	return list, next, rows.Err()
}

func (w *ErrorFilter) addTo(f *filter) {
	if w.Level != nil {
		f.add("level >= ?", min(max(int(*w.Level), math.MinInt32), math.MaxInt32)) // as the column
	}
	if w.Logger != "" {
		var any filter
		any.add("logger = ?", withoutNUL(w.Logger))
		any.addPrefix("logger", w.Logger+".")
		f.add("("+any.terms[0]+" OR "+any.terms[1]+")", any.args...)
	}
	f.addAnyCase(w.Text, "message")
	if w.RequestID != "" {
		f.add("request_id = ?", withoutNUL(w.RequestID))
	}
	if w.UserID != 0 {
		f.add("user_id = ?", int64(w.UserID))
	}
	if w.Fingerprint != "" {
		f.add("fingerprint = ?", withoutNUL(w.Fingerprint))
	}
	if !w.From.IsZero() {
		f.add("last_at >= ?", millis(w.From))
	}
	if !w.To.IsZero() {
		f.add("last_at < ?", millis(w.To))
	}
}

// GetError reads one record with its stack.
func (s *Store) GetError(ctx context.Context, actor *Actor, id int64) (ErrorRecord, error) {
	if err := actor.Require(PermReadErrors, 0); err != nil {
		return ErrorRecord{}, err
	}
	r, err := ErrorRecord{}, sql.ErrNoRows
	if id >= 1 && id <= maxID {
		r, err = scanError(s.db.QueryRow(ctx, selectError, id).Scan)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return ErrorRecord{}, event.Errorf(event.CodeNotFound, "there is no record %d in the error log", id)
	}
	return r, fail(err, "read the error log")
}

// ClearErrors removes the records that were last seen before a time, and tells how many.
func (s *Store) ClearErrors(ctx context.Context, actor *Actor, before time.Time) (int64, error) {
	if err := actor.Require(PermClearErrors, 0); err != nil {
		return 0, err
	}
	var n int64
	err := s.changePeople(ctx, actor, func(tx *auditedTx) (err error) {
		if n, err = tx.Exec(ctx, clearErrors, millis(before)); err != nil {
			return err
		}
		return tx.record(ctx, Entry{Action: "errors.clear", TargetKind: "errors", After: struct {
			Removed int64     `json:"removed"`
			Before  time.Time `json:"before"`
		}{n, before.UTC()}})
	})
	return n, fail(err, "clear the error log")
}

func scanError(scan func(...any) error) (ErrorRecord, error) {
	var r ErrorRecord
	var first, last, user int64
	var level int
	var attributes string
	if err := scan(&r.ID, &first, &last, &r.Occurrences, &level, &r.Logger, &r.Message, &r.Fingerprint, &r.RequestID, &user, &r.Address, &attributes, &r.Stack); err != nil {
		return ErrorRecord{}, err
	}
	r.First, r.Last = time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
	r.Level, r.UserID = slog.Level(level), uint32(user) //nolint:gosec // it was 32 bits when it was written
	r.Attributes = storedJSON(attributes)
	return r, nil
}
