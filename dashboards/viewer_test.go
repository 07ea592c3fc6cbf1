package dashboards_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"gatehouse/authsvc"
	"gatehouse/event"
	"gatehouse/query"
)

// says is the text that a script gives in the page.
func (w *window) says(script string) string {
	w.t.Helper()
	var text string
	w.run(chromedp.Evaluate(script, &text))
	return text
}

// choose chooses a report in the viewer.
func (w *window) choose(path string) {
	w.t.Helper()
	w.run(chromedp.SetValue("#report", path, chromedp.ByQuery), chromedp.Evaluate(`document.querySelector("#report").dispatchEvent(new Event("change"))`, nil))
}

// ask has the viewer show what its form asks for, and waits for the answer.
func (w *window) ask(fields ...string) {
	w.t.Helper()
	w.fill(fields...)
	w.run(chromedp.Evaluate(`document.querySelector("#tables").replaceChildren(), document.querySelector("#scope").textContent = ""`, nil))
	w.press("#show")
	w.run(chromedp.WaitVisible("#scope:not(:empty)", chromedp.ByQuery))
}

// refused has the viewer refuse what its form asks for, in words of its own that hold the text, beside the field.
func (w *window) refused(field, text string) {
	w.t.Helper()
	w.press("#show")
	w.run(chromedp.WaitVisible(field+"[aria-invalid=true]", chromedp.ByQuery))
	if got := w.says(`document.querySelector("#alert").textContent`); !strings.Contains(got, text) {
		w.t.Errorf("%s: the page says %q", field, got)
	}
	if got := w.says(`document.querySelector("#status").textContent`); !strings.Contains(got, "from before") {
		w.t.Errorf("%s: what stands below is not told to be from before: %q", field, got)
	}
}

// heads are the heads of the last table, as they are read.
func (w *window) heads() string {
	w.t.Helper()
	return w.says(`[...[...document.querySelectorAll("#tables table")].at(-1).querySelectorAll("thead th")].map((h) => h.textContent).join(", ")`)
}

// TestViewer asks for reports in a real browser, on a phone and a desk.
func TestViewer(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	ctx := context.Background()
	const sid = "S-1-5-21-3623811015-3361044348-30300820-1013"
	s := newSite(t)
	c, err := s.store.CreateCompany(ctx, operator, authsvc.CompanySettings{Name: "Example"})
	if err != nil {
		t.Fatal(err)
	}
	s.person(t, "ann", func(n *authsvc.NewUser) { n.Memberships = []authsvc.Grant{{CompanyID: c.ID, Role: authsvc.RoleUser}} })
	conn := s.reports(t, &c)
	batch, err := conn.PrepareBatch(ctx, `INSERT INTO events (company_id, time, type, account, user, user_name, computer, computer_name, logon_id, logon_type, event_id)`)
	if err != nil {
		t.Fatal(err)
	}
	// Imported: without a site. In the hour that Berlin has twice, too.
	for i, at := range []time.Time{time.Now().UTC().Add(-time.Hour), time.Date(2024, 10, 27, 0, 10, 0, 0, time.UTC)} {
		for j, kind := range []event.Type{event.Logon, event.Logoff} {
			if err := batch.Append(c.ID, at.Add(time.Duration(j)*40*time.Minute), kind.String(), event.AccountUser.String(), event.Fold(sid), sid, "pc-1", "PC-1",
				uint64(70+i), uint8(2), []uint16{4624, 4634}[j]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}

	w := newWindow(t, s)
	w.run(chromedp.Navigate(s.url + "/login"))
	w.run(chromedp.WaitVisible("#login-login", chromedp.ByQuery))
	w.fill("#login-login", "ann", "#login-password", good)
	w.press("form[action='/login'] button")
	w.run(chromedp.WaitVisible("#sign-out", chromedp.ByQuery), chromedp.WaitReady("#company option", chromedp.ByQuery), chromedp.WaitReady("#report option", chromedp.ByQuery))

	// On a phone the answer begins where it is seen.
	w.run(emulation.SetDeviceMetricsOverride(400, 800, 1, true))
	w.ask()
	top, err := strconv.ParseFloat(w.says(`String(document.querySelector("#result").getBoundingClientRect().top)`), 64)
	if err != nil || top < 0 || top > 400 {
		t.Errorf("on a phone the answer begins at %v of 800: %v", top, err)
	}
	w.run(emulation.ClearDeviceMetricsOverride())

	w.fill("#p-from", "2021-02-01", "#p-to", "2021-01-01")
	w.refused("#p-to", "is before the one in “From”")
	w.look("viewer-refused", "#alert")
	w.choose(query.ReportsPath + "sessions")
	w.press("#reset")
	w.fill("#p-limit", "99999")
	w.refused("#p-limit", "At most 5,000 rows")
	w.press("#reset")

	// The hints speak of what stands on the page.
	for path := range strings.FieldsSeq(w.says(`[...document.querySelector("#report").options].map((o) => o.value).join(" ")`)) {
		w.choose(path)
		if got := w.says(`[...document.querySelectorAll(".hint")].map((h) => h.textContent).filter((t) => /[a-z]_|\bq\b/.test(t)).join("; ")`); got != "" {
			t.Errorf("%s: hints in the API's names: %s", path, got)
		}
	}

	w.choose(query.ReportsPath + "sessions")
	w.ask()
	w.look("viewer-sessions", "#tables td button")
	if got := w.heads(); !strings.HasPrefix(got, "User, Computer, Start, End, Events, ") {
		t.Errorf("sessions: %s", got)
	}
	if got := w.says(`[...document.querySelectorAll("#result [role=region], #tables th button:disabled")].map((r) => r.getAttribute("aria-label")).join()`); got != "Sessions, table" {
		t.Errorf("regions within the result and heads that look like buttons: %q", got)
	}
	if got := w.says(`document.querySelector("#tables td").className`); got != "id" {
		t.Errorf("a SID may be broken into lines: class %q", got)
	}

	w.choose(query.ReportsPath + "frequency")
	if got := w.says(`[...document.querySelectorAll("#form label")].map((l) => l.textContent).filter((t) => t.includes("(default)")).join()`); got != "logon (default),user (default)" {
		t.Errorf("what is counted where nothing is chosen: %q", got)
	}
	w.ask("#p-group_by", "day")
	w.look("viewer-days", "#tables tbody tr")
	if got := w.heads(); !strings.HasPrefix(got, "Day, Weekday, Events") {
		t.Errorf("by day: %s", got)
	}
	w.ask("#p-group_by", "hour")
	if got := w.heads(); !strings.HasPrefix(got, "Day, Hour, Events") {
		t.Errorf("by hour: %s", got)
	}
	w.ask("#p-from", "2024-10-27", "#p-to", "2024-10-27", "#p-tz", "Europe/Berlin")
	if got := w.heads() + w.says(`document.querySelector("#tables").textContent`); !strings.HasPrefix(got, "Day, Hour, Start, ") || !strings.Contains(got, "02:00:00+02:00") || !strings.Contains(got, "02:00:00+01:00") {
		t.Errorf("a day that has an hour twice: %s", got)
	}
	w.ask("#p-group_by", "weekday_hour")
	w.look("viewer-week", "table.week")
	if got := w.says(`[...document.querySelectorAll("th")].filter((h) => !h.textContent).length + " empty"`); got != "0 empty" {
		t.Errorf("heads of tables: %s", got)
	}
	w.ask("#p-group_by", "site")
	if got := w.says(`document.querySelector("#tables td").textContent`); got != "Import" {
		t.Errorf("what came by no site is called %q", got)
	}

	w.choose(query.ReportsPath + "coverage")
	w.ask("#p-from", "2001-01-01", "#p-to", "2001-01-02")
	if got := w.says(`document.querySelector("#empty").textContent`); !strings.Contains(got, "Imported logs may be older") {
		t.Errorf("a range before all events: %q", got)
	}

	// With a key and back.
	for range 2 {
		w.press("#use-key")
		w.run(chromedp.WaitVisible("#key", chromedp.ByQuery), chromedp.WaitNotVisible("#account", chromedp.ByQuery))
		w.look("viewer-key", "#use-key")
		w.press("#use-key")
		w.run(chromedp.WaitVisible("#company", chromedp.ByQuery), chromedp.WaitVisible("#account", chromedp.ByQuery))
	}
	w.ask()

	w.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	if got := w.says(`getComputedStyle(document.querySelector("#p-tz"), "::placeholder").color`); got != "rgb(169, 181, 193)" {
		t.Errorf("placeholders in the dark are %s", got)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.complaints {
		t.Errorf("the browser complains: %s", c)
	}
}
