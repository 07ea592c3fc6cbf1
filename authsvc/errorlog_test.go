package authsvc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
	"gatehouse/internal/logctx"
	"gatehouse/internal/refusal"
	"gatehouse/internal/reldb"
)

// keptErrors runs fn with a logger whose error log is written to s, and gives what was kept, oldest first.
func keptErrors(t *testing.T, s *authsvc.Store, now func() time.Time, fn func(*slog.Logger)) []authsvc.ErrorRecord {
	t.Helper()
	l := authsvc.NewErrorLog(slog.DiscardHandler, now)
	fn(slog.New(l.Handler(slog.DiscardHandler)))
	ended, stop := context.WithCancel(t.Context())
	stop()
	l.Run(ended, s) // what waits is written at the end
	list, next, err := s.ListErrors(t.Context(), operator, authsvc.ErrorFilter{}, authsvc.Page{Limit: authsvc.MaxPage})
	if err != nil || next != "" {
		t.Fatal(next, err)
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

func TestErrorLog(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		s := open()
		ctx := logctx.With(t.Context(), logctx.Fields{RequestID: "req-1", UserID: 7, Address: netip.MustParseAddr("::ffff:192.0.2.1")})
		list := keptErrors(t, s, time.Now, func(log *slog.Logger) {
			log = log.With(slog.String("logger", "ingest"))
			log.Info("not kept")
			for range 1000 {
				log.ErrorContext(ctx, "the disk is full", slog.Any("error", errors.New("write spool: no space\nmore")), slog.Int("bytes", 7))
			}
		})
		if len(list) != 1 {
			t.Fatalf("%d records, want a burst to be one", len(list))
		}
		r := list[0]
		if r.Occurrences != 1000 || r.Level != slog.LevelError || r.Logger != "ingest" || r.Message != "the disk is full" || r.RequestID != "req-1" || r.UserID != 7 || r.Address != "192.0.2.1" || r.First.After(r.Last) {
			t.Errorf("%+v", r)
		}
		if string(r.Attributes) != `{"bytes":7,"error":"write spool: no space\nmore"}` || r.Stack != "" {
			t.Errorf("attributes %s, stack %q", r.Attributes, r.Stack)
		}
		full, err := s.GetError(t.Context(), operator, r.ID)
		if err != nil || !strings.Contains(full.Stack, "TestErrorLog") || strings.Contains(full.Stack, "errorHandler") {
			t.Errorf("stack %q, %v", full.Stack, err)
		}
		if _, err := s.GetError(t.Context(), operator, r.ID+1); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("no such record: %v", err)
		}
	})
}

// TestErrorLogFingerprint: what differs in numbers alone is one row; refusals are one for each person and path.
func TestErrorLogFingerprint(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		s := open()
		ada := logctx.With(t.Context(), logctx.Fields{UserID: 7, Via: "session ab"})
		bob := logctx.With(t.Context(), logctx.Fields{UserID: 8, Via: "session cd"})
		list := keptErrors(t, s, time.Now, func(log *slog.Logger) {
			for port := range 50 {
				log.Error("the database is away", slog.Any("error", fmt.Errorf("read tcp 127.0.0.1:%d->127.0.0.1:5432: reset", 38774+port)))
			}
			now := time.Unix(0, 0)
			refused := refusal.New(log, func() time.Time { now = now.Add(time.Second); return now })
			for _, ctx := range []context.Context{ada, bob} {
				for _, path := range []string{"/api/v1/companies/1", "/api/v1/companies/2", "/api/v1/settings"} {
					refused.Request(httptest.NewRequestWithContext(ctx, "GET", path, nil), "forbidden", "not yours")
				}
			}
		})
		if len(list) != 5 {
			t.Fatalf("%d records: %+v", len(list), list)
		}
		of := map[uint32]int64{}
		for _, r := range list {
			of[r.UserID] += r.Occurrences
			if r.UserID == 7 && !strings.Contains(string(r.Attributes), `"via":"session ab"`) {
				t.Errorf("%s", r.Attributes)
			}
		}
		if of[0] != 50 || of[7] != 3 || of[8] != 3 {
			t.Errorf("%v", of)
		}
	})
}

// TestErrorLogWindow: equal records are one row for a minute, then a new one; a row that was cleared is not missed.
func TestErrorLogWindow(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		s, ctx := open(), t.Context()
		clk := &clock{t: time.Now()}
		l := authsvc.NewErrorLog(slog.DiscardHandler, clk.now)
		log := slog.New(l.Handler(slog.DiscardHandler))
		running, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan struct{})
		go func() { defer close(ended); l.Run(running, s) }()
		say := func(level slog.Level, message string, want int, times int64) {
			t.Helper()
			r := slog.NewRecord(clk.now(), level, message, 0)
			if err := log.Handler().Handle(ctx, r); err != nil {
				t.Fatal(err)
			}
			eventually(t, message, func() bool {
				list, _, err := s.ListErrors(ctx, operator, authsvc.ErrorFilter{}, authsvc.Page{})
				if err != nil {
					t.Fatal(err)
				}
				return len(list) == want && list[0].Occurrences == times
			})
		}
		say(slog.LevelError, "a", 1, 1)
		say(slog.LevelError, "a", 1, 2)
		say(slog.LevelWarn, "a", 2, 1) // another level is another matter
		clk.add(59 * time.Second)
		say(slog.LevelWarn, "a", 2, 2)
		clk.add(2 * time.Second)
		say(slog.LevelWarn, "a", 3, 1)
		n, err := s.ClearErrors(ctx, operator, clk.now().Add(time.Hour))
		if err != nil || n != 3 {
			t.Fatal(n, err)
		}
		say(slog.LevelWarn, "a", 1, 1)
		stop()
		<-ended
		list, _, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{Action: "errors.clear"}, authsvc.Page{})
		if err != nil || len(list) != 1 || !strings.Contains(string(list[0].After), `"removed":3`) {
			t.Errorf("clearing in the audit trail: %+v, %v", list, err)
		}
	})
}

// TestErrorLogWithoutDatabase: whoever logs does not wait, what fits is kept until the database is back, the rest is counted, and the
// log's own trouble does not feed it.
func TestErrorLogWithoutDatabase(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		s, control, ctx := open(), open(), t.Context()
		rename := func(from, to string) {
			t.Helper()
			if err := control.DB().Update(ctx, func(tx *reldb.Tx) error {
				_, err := tx.Exec(ctx, `ALTER TABLE `+from+` RENAME TO `+to)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		rename("error_log", "gone")
		var own safeBuffer
		l := authsvc.NewErrorLog(slog.NewTextHandler(&own, nil), time.Now)
		log := slog.New(l.Handler(slog.DiscardHandler))
		running, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan struct{})
		go func() { defer close(ended); l.Run(running, s) }()
		const many = authsvc.MaxPendingErrors + 40
		for i := range many {
			log.Error("different", slog.Any("error", errors.New("number "+letters(i))))
		}
		eventually(t, "the failure is told", func() bool { return strings.Contains(own.String(), "cannot be written") })
		for i := range many {
			log.Error("different", slog.Any("error", errors.New("number "+letters(i))))
		}
		rename("gone", "error_log")
		var total int64
		eventually(t, "all are counted", func() bool {
			total = 0
			for cursor := ""; ; {
				list, next, err := s.ListErrors(ctx, operator, authsvc.ErrorFilter{}, authsvc.Page{Limit: authsvc.MaxPage, Cursor: cursor})
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range list {
					total += r.Occurrences
				}
				if cursor = next; next == "" {
					return total == 2*many
				}
			}
		})
		stop()
		<-ended
		if n := strings.Count(own.String(), "cannot be written"); n != 1 {
			t.Errorf("the failure was told %d times", n)
		}
	})
}

// letters is a number in letters: digits do not make records different.
func letters(n int) string {
	return strings.Map(func(r rune) rune { return r - '0' + 'a' }, strconv.Itoa(n))
}

// safeBuffer is a buffer that several goroutines may use.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestErrorLogSettings: level and filters come from the settings, also while it runs.
func TestErrorLogSettings(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		s, ctx := open(), t.Context()
		for name, value := range map[string]string{"error_log_level": "ERROR", "error_log_filters": "ingest=INFO, ingest.writer=WARN"} {
			if _, err := s.SetSetting(ctx, operator, name, value); err != nil {
				t.Fatal(err)
			}
		}
		l := authsvc.NewErrorLog(slog.DiscardHandler, time.Now)
		log := slog.New(l.Handler(slog.DiscardHandler))
		running, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() { defer close(ended); l.Run(running, s) }()
		eventually(t, "the settings are read", func() bool {
			return log.Enabled(ctx, slog.LevelInfo) && !log.Enabled(ctx, slog.LevelDebug)
		})
		log.Warn("no: warning of another")
		log.Error("yes: error of another")
		for logger, want := range map[string]string{"ingest": "yes", "ingest.http": "yes", "ingest.writer": "no", "ingest.writer.x": "no", "ingester": "no"} {
			if want == "yes" {
				log.With(slog.String("component", logger)).Info("yes: by the logger")
				log.Info("yes: by the record", slog.String("logger", logger))
			} else {
				log.With(slog.String("component", logger)).Info("no: by the logger")
				log.Info("no: by the record", slog.String("logger", logger))
			}
		}
		stop()
		<-ended
		list, _, err := s.ListErrors(ctx, operator, authsvc.ErrorFilter{}, authsvc.Page{})
		if err != nil || len(list) != 5 {
			t.Errorf("%d records, %v", len(list), err)
		}
		for _, r := range list {
			if !strings.HasPrefix(r.Message, "yes") {
				t.Errorf("kept: %s of %s", r.Message, r.Logger)
			}
		}
		if list, _, err := s.ListErrors(ctx, operator, authsvc.ErrorFilter{Logger: "ingest"}, authsvc.Page{}); err != nil || len(list) != 4 {
			t.Errorf("by logger: %d, %v", len(list), err)
		}
	})
}

type panics struct{}

func (panics) Error() string { panic("no text") }

// TestErrorLogSecrets: no secret gets into the table by any way in which a record can carry it.
func TestErrorLogSecrets(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		s, ctx := open(), t.Context()
		const hidden = "Xq7vHidden"
		key := "gh_" + strings.Repeat("Ab1", 13) + hidden[:4]
		personal := "ghp_" + strings.Repeat("Zz9", 13) + hidden[:4]
		jwt := "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxMjM0NTYifQ." + hidden + "abcdefgh"
		type form struct {
			User     string
			Password string
			Inner    struct{ APIKey string }
			List     []map[string]string
		}
		f := form{User: "alice", Password: hidden, List: []map[string]string{{"Set-Cookie": hidden, "ok": "fine"}}}
		f.Inner.APIKey = hidden
		message := "failed for postgres://gate:" + hidden + "@db/x and password=" + hidden + " " + key
		list := keptErrors(t, s, time.Now, func(log *slog.Logger) {
			log.With(slog.String("secret_key", hidden), slog.Group("session", slog.String("cookie", hidden), slog.String("id_name", "visible"))).
				WithGroup("request").ErrorContext(ctx, message, //nolint:sloglint // a message made with a secret in it is what is tested
				slog.String("Authorization", "Bearer "+hidden), slog.String("url", "https://u:"+hidden+"@h/?token="+hidden), slog.Any("form", f),
				slog.Any("error", fmt.Errorf("key %s, %s, %s: Bearer %s", key, personal, jwt, hidden)), slog.Any("bytes", []byte("pwd: "+hidden)),
				slog.Any("bad", panics{}), slog.Any("nothing", nil), slog.Any("channel", make(chan int)), slog.String("key_id", "17"),
				slog.String("stack", "goroutine 1\n password="+hidden))
		})
		if len(list) != 1 {
			t.Fatalf("%d records", len(list))
		}
		full, err := s.GetError(ctx, operator, list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		all := fmt.Sprintf("%+v %s", full, full.Attributes)
		for _, secret := range []string{hidden, key[12:], personal[13:], jwt[25:40]} {
			if strings.Contains(all, secret) {
				t.Errorf("%q is in %s", secret, all)
			}
		}
		for _, wanted := range []string{
			`"request.form":{"Inner":{"APIKey":"[redacted]"},"List":[{"Set-Cookie":"[redacted]","ok":"fine"}],"Password":"[redacted]","User":"alice"}`,
			`"session.id_name":"visible"`, `"request.key_id":"17"`, "gh_Ab1Ab1Ab…", "postgres://gate:[redacted]@db/x", "goroutine 1",
		} {
			if !strings.Contains(all, wanted) {
				t.Errorf("%s lacks %s", all, wanted)
			}
		}
	})
}

func TestErrorLogPermissions(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		s, ctx := open(), t.Context()
		c := mustCompany(t, s, "One")
		for _, actor := range []*authsvc.Actor{
			personIn(t, s, authsvc.RoleAdmin, map[uint32]authsvc.Role{c.ID: authsvc.RoleAdmin}),
			personIn(t, s, authsvc.RoleUser, map[uint32]authsvc.Role{c.ID: authsvc.RoleCompanyAdmin}),
			{Kind: authsvc.ActorKey, Company: c.ID, Stage: authsvc.StageDone, Scopes: authsvc.KeyScopes},
		} {
			_, _, err1 := s.ListErrors(ctx, actor, authsvc.ErrorFilter{}, authsvc.Page{})
			_, err2 := s.GetError(ctx, actor, 1)
			_, err3 := s.ClearErrors(ctx, actor, time.Now())
			for _, err := range []error{err1, err2, err3} {
				if event.ErrorCode(err) != event.CodeForbidden {
					t.Errorf("%s: %v", actor.Role, err)
				}
			}
		}
		mustPerson(t, s, "second", authsvc.RoleGlobalAdmin)
		boss := mustPerson(t, s, "boss", authsvc.RoleGlobalAdmin)
		before := as(t, s, boss)
		if _, err := s.DisableUser(ctx, operator, boss.ID); err != nil {
			t.Fatal(err)
		}
		_, err := s.ClearErrors(ctx, before, time.Now())
		wantCode(t, "clearing by rights of a moment ago", err, event.CodeUnauthorized)
	})
}
