package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"
)

// adminLists are the lists of administrators, by whom they are asked for. {large} is the company of most people.
var adminLists = []struct {
	name, path string
	params     url.Values
	operator   bool // an Admin of many companies asks, else a GlobalAdmin
	after      int  // so many pages of the largest size
}{
	{name: "list_users", path: "/api/v1/users"},
	{name: "list_users_deep", path: "/api/v1/users", after: 20},
	{name: "list_users_text", path: "/api/v1/users", params: url.Values{"q": {"4242"}}},
	{name: "list_users_none", path: "/api/v1/users", params: url.Values{"q": {"nobody at all"}, "total": {"true"}}},
	{name: "list_users_state", path: "/api/v1/users", params: url.Values{"state": {"waiting"}}},
	{name: "list_users_of_company", path: "/api/v1/users", params: url.Values{"company": {"{large}"}}},
	{name: "list_users_operator", path: "/api/v1/users", operator: true},
	{name: "list_users_500", path: "/api/v1/users", params: url.Values{"limit": {"500"}}},
	{name: "list_companies", path: "/api/v1/companies"},
	{name: "list_companies_text", path: "/api/v1/companies", params: url.Values{"q": {"4242"}, "total": {"true"}}},
	{name: "list_companies_operator", path: "/api/v1/companies", operator: true},
	{name: "list_keys", path: "/api/v1/keys"},
	{name: "list_keys_text", path: "/api/v1/keys", params: url.Values{"q": {"site 4242"}}},
	{name: "list_keys_operator", path: "/api/v1/keys", operator: true},
	{name: "list_audit", path: "/api/v1/audit"},
	{name: "list_audit_action", path: "/api/v1/audit", params: url.Values{"action": {"key"}}},
	{name: "list_audit_text_none", path: "/api/v1/audit", params: url.Values{"q": {"nowhere"}}},
	{name: "list_audit_actor_none", path: "/api/v1/audit", params: url.Values{"actor": {"nobody at all"}}},
	{name: "list_audit_address", path: "/api/v1/audit", params: url.Values{"address": {"198.51.100.7"}}},
	{name: "list_audit_request", path: "/api/v1/audit", params: url.Values{"request_id": {"nowhere"}}},
	{name: "list_audit_target", path: "/api/v1/audit", params: url.Values{"target_kind": {"user"}, "target_id": {"42"}}},
	{name: "list_audit_target_none", path: "/api/v1/audit", params: url.Values{"target_id": {"0"}}},
	{name: "list_audit_operator", path: "/api/v1/audit", operator: true},
	{name: "list_errors", path: "/api/v1/errors"},
	{name: "list_errors_text_none", path: "/api/v1/errors", params: url.Values{"q": {"nowhere"}}},
	{name: "list_errors_request", path: "/api/v1/errors", params: url.Values{"request_id": {"nowhere"}}},
}

// measureAccounts measures signing in, and the lists of administrators among many people and companies.
func (r *Runner) measureAccounts(ctx context.Context) (err error) {
	dir, remove, err := r.tempDir("accounts")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	s := &Server{Binary: r.Binary, Dir: dir, Env: map[string]string{
		"GATEHOUSE_SERVER_TLS": "false", "GATEHOUSE_ADMIN_PASSWORD": benchPassword, "GATEHOUSE_RATE_LIMITING_ENABLED": "false",
	}}
	if err := errors.Join(s.Start(ctx), s.Stop()); err != nil {
		return err
	}
	companies := max(1, r.People/10)
	r.Board.Note("filling in %d people and %d companies", r.People, companies)
	begin := time.Now()
	if err := fillAccounts(ctx, dir, r.People, companies); err != nil {
		return fmt.Errorf("fill in accounts: %w", err)
	}
	r.Board.Note("filled in %s", time.Since(begin).Round(time.Millisecond))
	if err := s.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	r.Board.Note("MEASURING accounts from now on: keep the machine quiet")
	if err := r.measureSignIn(ctx, s); err != nil {
		return err
	}
	return r.measureLists(ctx, s)
}

// measureSignIn measures the request that bears the password, in a browser whose session has begun, one after the other.
func (r *Runner) measureSignIn(ctx context.Context, s *Server) error {
	for _, who := range []struct {
		name, login string
		status      int
	}{{"signin_latency", firstAdminName, http.StatusOK}, {"signin_unknown", "nobody", http.StatusUnauthorized}} {
		var took []time.Duration
		used := cpuTime(s.PID())
		for i := range warmRuns + r.Runs {
			browser, err := s.Client(1)
			if err != nil {
				return err
			}
			if browser.Jar, err = cookiejar.New(nil); err != nil {
				return err
			}
			d, err := signIn(ctx, browser, s.URL(), who.login, who.status)
			browser.CloseIdleConnections()
			if err != nil {
				return fmt.Errorf("%s: %w", who.name, err)
			}
			if i >= warmRuns {
				took = append(took, d)
			}
		}
		r.Board.Plain(who.name, millis(median(took)), "ms")
		r.noteRuns(who.name, took, cpuTime(s.PID())-used, "")
	}
	return nil
}

// noteRuns tells how the times lie, and what each run cost the server's processors, which other programs on the machine do not change.
func (r *Runner) noteRuns(name string, took []time.Duration, used time.Duration, more string) {
	r.Board.Note("%s: fastest %.1f ms, slowest %.1f, of %d; processor time of the server %.1f ms each%s", name, millis(percentile(took, 0)), millis(percentile(took, 1)), len(took),
		millis(used)/float64(len(took)+warmRuns), more)
}

func signIn(ctx context.Context, browser *http.Client, base, login string, want int) (time.Duration, error) {
	var begun struct {
		CSRF string `json:"csrf_token"`
	}
	if _, err := askJSON(ctx, browser, http.MethodGet, base+"/api/v1/auth/csrf", nil, nil, &begun); err != nil {
		return 0, err
	}
	start := time.Now()
	status, err := askJSON(ctx, browser, http.MethodPost, base+"/api/v1/auth/sign-in", http.Header{"X-CSRF-Token": {begun.CSRF}},
		map[string]string{"login": login, "password": benchPassword}, nil)
	took := time.Since(start)
	if err == nil && status != want {
		err = fmt.Errorf("signing in answers %d", status)
	}
	return took, err
}

// measureLists asks for each list as often as for a report.
func (r *Runner) measureLists(ctx context.Context, s *Server) error {
	client, err := s.Client(1)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	slowest := 0.0
	for _, l := range adminLists {
		login := firstAdminName
		if l.operator {
			login = operatorName
		}
		// One token lives ten minutes, so each list gets one of its own.
		header, err := bearerOf(ctx, client, s.URL(), login)
		if err != nil {
			return err
		}
		params, err := r.listParams(ctx, client, s.URL(), header, l.path, l.params, l.after)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		var took []time.Duration
		rows, used := 0, cpuTime(s.PID())
		for i := range warmRuns + r.Runs {
			var page listPage
			begin := time.Now()
			status, err := askJSON(ctx, client, http.MethodGet, s.URL()+l.path+"?"+params.Encode(), header, nil, &page)
			d := time.Since(begin)
			if err != nil || status != http.StatusOK {
				return fmt.Errorf("%s answers %d: %w", l.name, status, err)
			}
			if rows = len(page.Rows); i >= warmRuns {
				took = append(took, d)
			}
		}
		m := millis(median(took))
		slowest = max(slowest, m)
		r.Board.Below(l.name, m, "ms", targetList)
		r.noteRuns(l.name, took, cpuTime(s.PID())-used, fmt.Sprintf("; %d rows", rows))
	}
	r.Board.Below("list_slowest", slowest, "ms", targetList)
	return nil
}

type listPage struct {
	Rows []json.RawMessage `json:"rows"`
	Next string            `json:"next_cursor"`
}

// listParams fills in what is known only now: the id of the large company, and the place in the list.
func (r *Runner) listParams(ctx context.Context, client *http.Client, base string, header http.Header, path string, given url.Values, after int) (url.Values, error) {
	params := url.Values{}
	for k, v := range given {
		params[k] = v
	}
	if params.Get("company") != "" {
		var page struct {
			Rows []struct {
				ID uint32 `json:"id"`
			} `json:"rows"`
		}
		name := fmt.Sprintf("company %05d", max(1, r.People/10)-1)
		if _, err := askJSON(ctx, client, http.MethodGet, base+"/api/v1/companies?q="+url.QueryEscape(name), header, nil, &page); err != nil {
			return nil, err
		}
		if len(page.Rows) != 1 {
			return nil, fmt.Errorf("%d companies are called %q", len(page.Rows), name)
		}
		params.Set("company", fmt.Sprint(page.Rows[0].ID))
	}
	for range after {
		var page listPage
		walk := url.Values{"limit": {"500"}}
		if c := params.Get("cursor"); c != "" {
			walk.Set("cursor", c)
		}
		if _, err := askJSON(ctx, client, http.MethodGet, base+path+"?"+walk.Encode(), header, nil, &page); err != nil {
			return nil, err
		}
		if page.Next == "" {
			break
		}
		params.Set("cursor", page.Next)
	}
	return params, nil
}

func bearerOf(ctx context.Context, client *http.Client, base, login string) (http.Header, error) {
	var pair struct {
		Access string `json:"access_token"`
	}
	status, err := askJSON(ctx, client, http.MethodPost, base+"/api/v1/auth/token", nil, map[string]string{"login": login, "password": benchPassword}, &pair)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("a token for %s: %d", login, status)
	}
	return http.Header{"Authorization": {"Bearer " + pair.Access}}, err
}

// askJSON makes a request and reads its answer into into, unless that is nil.
func askJSON(ctx context.Context, client *http.Client, method, address string, header http.Header, body, into any) (status int, err error) {
	text := ""
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		text = string(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(text))
	if err != nil {
		return 0, err
	}
	if header != nil {
		req.Header = header.Clone()
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err == nil && into != nil && resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(raw, into)
	}
	return resp.StatusCode, err
}
