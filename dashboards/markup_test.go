package dashboards_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"gatehouse/authsvc"
	"gatehouse/event"
	"gatehouse/internal/enginetest"
	"gatehouse/query"
	"gatehouse/schema"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// reports has the site answer reports and searches of a company over what is stored, and gives the connection to store it by.
func (s *site) reports(t *testing.T, c *authsvc.Company) clickhouse.Conn {
	t.Helper()
	ctx := context.Background()
	options := enginetest.Shared(t).Options()
	name := enginetest.Database()
	migrations, err := schema.NewClickHouse(options, schema.Layout{Database: name})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := migrations.Up(ctx); err != nil {
		t.Fatal(err)
	}
	options.Auth.Database = name
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	api, err := query.NewAPI(query.New(conn, query.Options{SiteNames: s.store.SiteNames}), func(_ context.Context, r *http.Request) (query.Caller, error) {
		_, err := s.api.Reader(r)
		return query.Caller{Company: query.Company{ID: c.ID, Name: c.Name, Location: time.UTC, MaxSession: 24 * time.Hour}}, err
	}, query.APIOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range api.Routes() {
		if strings.Contains(rt.Path, "/reports/") || rt.Path == query.EventsPath {
			s.router.Handle(rt.Path, rt.Handler).Methods(rt.Method)
		}
	}
	return conn
}

// TestMarkupInBrowser has a real browser show names that would be scripts if anything made markup of them.
func TestMarkupInBrowser(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	ctx := context.Background()
	const (
		ran      = `window.ran=(window.ran||0)+1`
		user     = `<script>` + ran + `</script>`
		computer = `"'><img src=x onerror="` + ran + `">`
		domain   = `<svg onload=` + ran + `>`
		company  = `Co <img src=x onerror=` + ran + `>`
		place    = `</option></select><script>` + ran + `</script>`
		person   = `"><script>` + ran + `</script>`
	)
	s := newSite(t)
	c, err := s.store.CreateCompany(ctx, operator, authsvc.CompanySettings{Name: company})
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := s.store.CreateKey(ctx, operator, c.ID, authsvc.NewKey{Site: place, Scopes: authsvc.ScopeIngest})
	if err != nil {
		t.Fatal(err)
	}
	u := s.person(t, "ann", func(n *authsvc.NewUser) {
		n.DisplayName, n.Memberships = person, []authsvc.Grant{{CompanyID: c.ID, Role: authsvc.RoleUser}}
	})
	conn := s.reports(t, &c)
	// As no event comes in by the API, which may refuse or change such names: what is stored is not to be believed either.
	batch, err := conn.PrepareBatch(ctx, `INSERT INTO events (company_id, site_id, time, type, account, user, user_name, computer, computer_name, domain, logon_id, logon_type, status, sub_status, event_id)`)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().UTC().Add(-time.Hour)
	for i, kind := range []event.Type{event.Logon, event.LogonFailed, event.Logoff} {
		if err := batch.Append(c.ID, key.ID, start.Add(time.Duration(i)*time.Minute), kind.String(), event.AccountUser.String(), event.Fold(user), user, event.Fold(computer), computer, domain,
			uint64(77), uint8(2), uint32(0xc000006d), uint32(0xc000006a), []uint16{4624, 4625, 4634}[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	actor, err := s.store.ActorFor(ctx, u.ID, authsvc.Claim{Epoch: u.Epoch, SecondFactor: true, Scopes: authsvc.AllScopes})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.store.CreatePersonalToken(ctx, actor, authsvc.NewPersonalToken{Name: person, Scopes: authsvc.ScopeRead, Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	other := s.browser(t)
	other.agent = user
	other.login("ann", good)

	w := newWindow(t, s)
	chromedp.ListenTarget(w.ctx, func(e any) {
		if _, asked := e.(*page.EventJavascriptDialogOpening); asked {
			w.complain("a script has opened a dialog")
		}
	})
	// shows holds that the texts are on the page as they are, and that none of them ran.
	shows := func(texts ...string) {
		t.Helper()
		var ran bool
		var shown string
		w.run(chromedp.Evaluate(`"ran" in window`, &ran), chromedp.Evaluate(`document.body.textContent`, &shown))
		if ran {
			t.Error("a script in a name has run")
		}
		for _, text := range texts {
			if !strings.Contains(shown, text) {
				t.Errorf("the page does not show %s:\n%s", text, shown)
			}
		}
	}
	w.run(chromedp.Navigate(s.url + "/login"))
	w.run(chromedp.WaitVisible("#login-login", chromedp.ByQuery))
	w.fill("#login-login", "ann", "#login-password", good)
	w.press("form[action='/login'] button")
	w.run(chromedp.WaitVisible("#sign-out", chromedp.ByQuery), chromedp.WaitReady("#company option", chromedp.ByQuery), chromedp.WaitReady("#report option", chromedp.ByQuery))
	shows(company)
	for _, r := range []struct {
		name, path string
		texts      []string
	}{
		{"sessions", query.ReportsPath + "sessions", []string{user, computer, place}},
		{"failures", query.ReportsPath + "failures", []string{user}},
		{"events", query.EventsPath, []string{user, computer, domain, place}},
	} {
		w.run(chromedp.SetValue("#report", r.path, chromedp.ByQuery), chromedp.Evaluate(`document.querySelector("#report").dispatchEvent(new Event("change"))`, nil))
		w.run(chromedp.Evaluate(`document.querySelector("#tables").replaceChildren()`, nil))
		w.press("#show")
		w.look("markup-"+r.name, "#tables tbody tr")
		w.fits()
		shows(append(r.texts, company)...)
	}
	w.run(chromedp.Navigate(s.url + "/account"))
	w.look("markup-account", "#profile")
	w.fits()
	shows(company, person, user)

	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.complaints {
		t.Errorf("the browser complains: %s", c)
	}
}
