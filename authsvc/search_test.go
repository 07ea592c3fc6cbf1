package authsvc_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// TestSearchIsBounded: a page of a search by text looks at so many rows and no more, and its cursors lead to the oldest row all the same.
func TestSearchIsBounded(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		const rows = 2*authsvc.SearchRows + 500
		fill := func(statement, row string, args func(i int) []any) {
			t.Helper()
			const atOnce = 500
			for begin := 0; begin < rows; begin += atOnce {
				if err := s.DB().Update(ctx, func(tx *reldb.Tx) error {
					var all []any
					for i := begin; i < begin+atOnce; i++ {
						all = append(all, args(i)...)
					}
					_, err := tx.Exec(ctx, statement+strings.TrimSuffix(strings.Repeat(row+",", atOnce), ","), all...)
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		name := func(i int) string { return map[int]string{0: "the oldest", authsvc.SearchRows + 700: "one between"}[i] }
		fill(`INSERT INTO audit_log (seq, at, action, outcome, actor_kind, actor_name, before_json, after_json, detail, prev_hash, hash) VALUES `,
			`(?, 1, 'test', 'success', 'system', ?, '', '', '', '', '')`, func(i int) []any { return []any{i + 1, name(i)} })
		fill(`INSERT INTO error_log (first_at, last_at, occurrences, level, message, fingerprint, attributes, stack) VALUES `,
			`(1, 1, 1, 8, ?, '', '{}', '')`, func(i int) []any { return []any{name(i)} })
		if err := s.DB().Update(ctx, func(tx *reldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE audit_head SET last_seq = ? WHERE id = 1`, rows)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for kind, list := range map[string]func(ctx context.Context, text string, page authsvc.Page) (found []string, next string, err error){
			"audit by text": func(ctx context.Context, text string, page authsvc.Page) (found []string, next string, err error) {
				list, next, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{Text: text}, page)
				for i := range list {
					found = append(found, list[i].ActorName)
				}
				return found, next, err
			},
			"audit by actor": func(ctx context.Context, text string, page authsvc.Page) (found []string, next string, err error) {
				list, next, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{Actor: text}, page)
				for i := range list {
					found = append(found, list[i].ActorName)
				}
				return found, next, err
			},
			"errors": func(ctx context.Context, text string, page authsvc.Page) (found []string, next string, err error) {
				list, next, err := s.ListErrors(ctx, operator, authsvc.ErrorFilter{Text: text}, page)
				for i := range list {
					found = append(found, list[i].Message)
				}
				return found, next, err
			},
		} {
			for text, want := range map[string]string{"nowhere": "", "OLDEST": "the oldest", "one": "one between", "e o": "the oldest"} {
				var got []string
				pages := 0
				for page := (authsvc.Page{Limit: 1}); ; {
					found, next, err := list(ctx, text, page)
					if err != nil || pages > 10 {
						t.Fatal(kind, pages, err)
					}
					got, pages = append(got, found...), pages+1
					if page.Cursor = next; next == "" {
						break
					}
				}
				if strings.Join(got, ", ") != want || pages != 3 {
					t.Errorf("%s, %q: %q after %d pages", kind, text, got, pages)
				}
			}
		}
		// What has an index looks at all at once.
		if list, next, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{RequestID: "nowhere", To: time.Now()}, authsvc.Page{}); err != nil || len(list) != 0 || next != "" {
			t.Errorf("by request: %d rows, %q, %v", len(list), fmt.Sprint(next), err)
		}
	})
}

// TestNumbersTooLarge: a number from a client that is larger than the column it is compared with is told like any other that is wrong, on every database.
func TestNumbersTooLarge(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		ada := mustPerson(t, s, "ada", authsvc.RoleUser)
		const largest = math.MaxInt32
		for _, c := range []struct {
			list string
			at   int64
			code event.Code
		}{
			{"keys", largest, ""},
			{"keys", largest + 1, event.CodeInvalid},
			{"keys", math.MaxInt64, event.CodeInvalid},
			{"errors", largest, ""},
			{"errors", largest + 1, event.CodeInvalid},
			{"errors", math.MaxInt64, event.CodeInvalid},
			{"audit", largest + 1, ""}, // its column is wider
			{"audit", math.MaxInt64, ""},
		} {
			page := authsvc.Page{Cursor: base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `["%s","%d"]`, c.list, c.at))}
			var err error
			switch c.list {
			case "keys":
				_, _, err = s.ListKeys(ctx, operator, authsvc.KeyFilter{}, page)
			case "errors":
				_, _, err = s.ListErrors(ctx, operator, authsvc.ErrorFilter{}, page)
			case "audit":
				_, _, err = s.ListAudit(ctx, operator, authsvc.AuditFilter{}, page)
			}
			wantCode(t, fmt.Sprintf("%s from %d on", c.list, c.at), err, c.code)
		}
		for _, id := range []int64{math.MinInt64, 0, largest, largest + 1, math.MaxInt64} {
			_, err := s.GetError(ctx, operator, id)
			wantCode(t, fmt.Sprintf("record %d of the error log", id), err, event.CodeNotFound)
		}
		for _, level := range []slog.Level{math.MinInt64, largest + 1} {
			_, _, err := s.ListErrors(ctx, operator, authsvc.ErrorFilter{Level: &level}, authsvc.Page{})
			wantCode(t, fmt.Sprintf("errors from level %d on", level), err, "")
		}
		for _, id := range []uint32{largest, largest + 1, math.MaxUint32} {
			grants := []authsvc.Grant{{CompanyID: id, Role: authsvc.RoleUser}}
			_, _, err := s.CreateUser(ctx, operator, authsvc.NewUser{Username: "x", Email: "x@example.com", Memberships: grants})
			wantCode(t, fmt.Sprintf("a person in company %d", id), err, event.CodeNotFound)
			_, err = s.SetMembership(ctx, operator, ada.ID, grants[0])
			wantCode(t, fmt.Sprintf("ada in company %d", id), err, event.CodeNotFound)
		}
	})
}
