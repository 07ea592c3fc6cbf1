package dashboards_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// chromium finds a browser. Without one the test is skipped; CI has to have it.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const how = "no Chromium on this machine: tools/browser.sh installs it on Debian, which `make test` does as root"
	if os.Getenv("CI") == "true" {
		t.Fatal(how)
	}
	t.Skip(how)
	return ""
}

// window is a real browser. Whatever it complains of in its console, such as what the pages' policy has kept from running, fails the test.
type window struct {
	t    *testing.T
	ctx  context.Context // of the browser
	site *site

	mu         sync.Mutex
	complaints []string
}

func newWindow(t *testing.T, s *site) *window {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.NoSandbox,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1100, 900))
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	w := &window{t: t, ctx: ctx, site: s}
	chromedp.ListenTarget(ctx, func(e any) {
		switch e := e.(type) {
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.LevelError || e.Entry.Level == cdplog.LevelWarning {
				w.complain(e.Entry.Text + " " + e.Entry.URL)
			}
		case *runtime.EventExceptionThrown:
			w.complain(e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
				w.complain(fmt.Sprint(e.Type, e.Args))
			}
		}
	})
	// The first run starts the browser, which lives as long as the context that it is given: not that of one step.
	if err := chromedp.Run(ctx, cdplog.Enable(), runtime.Enable(), webauthn.Enable()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *window) complain(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.complaints = append(w.complaints, text)
}

func (w *window) run(actions ...chromedp.Action) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second) // it hangs: how fast it is depends on the machine
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		var text string
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), 5*time.Second)
		defer cancel()
		_ = chromedp.Run(ctx, chromedp.Text("main", &text, chromedp.ByQuery)) // as far as it can be told
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t.Fatalf("%v\nthe console says: %q\nthe page says: %s", err, w.complaints, text)
	}
}

// look waits until the page has an element, and keeps pictures of it where GATEHOUSE_SCREENSHOTS names a folder for them.
func (w *window) look(name, selector string) {
	w.t.Helper()
	w.run(chromedp.WaitVisible(selector, chromedp.ByQuery))
	dir := os.Getenv("GATEHOUSE_SCREENSHOTS")
	if dir == "" {
		return
	}
	for _, p := range []struct {
		name, scheme string
		width        int64
	}{{"light", "light", 1100}, {"dark", "dark", 1100}, {"narrow", "light", 400}} {
		var picture []byte
		w.run(
			emulation.SetDeviceMetricsOverride(p.width, 900, 1, false),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: p.scheme}}),
			chromedp.FullScreenshot(&picture, 100),
		)
		if err := os.WriteFile(filepath.Join(dir, name+"-"+p.name+".png"), picture, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	w.run(emulation.ClearDeviceMetricsOverride(), emulation.SetEmulatedMedia())
}

// fits fails where the page is wider than a phone.
func (w *window) fits() {
	w.t.Helper()
	var width int64
	w.run(emulation.SetDeviceMetricsOverride(400, 900, 1, false), chromedp.Evaluate("document.documentElement.scrollWidth", &width), emulation.ClearDeviceMetricsOverride())
	if width > 400 {
		w.t.Errorf("the page is %d pixels wide on a phone of 400", width)
	}
}

func (w *window) fill(fields ...string) {
	w.t.Helper()
	for i := 0; i+1 < len(fields); i += 2 {
		w.run(chromedp.SetValue(fields[i], fields[i+1], chromedp.ByQuery))
	}
}

// press presses a button by the keyboard: where a button is on the screen may be about to change.
func (w *window) press(selector string) {
	w.t.Helper()
	w.run(chromedp.Focus(selector, chromedp.ByQuery), chromedp.KeyEvent("\r"))
}

// TestInBrowser walks the first start in a real browser, with a passkey.
func TestInBrowser(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	s := newSite(t)
	w := newWindow(t, s)
	w.run(chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := webauthn.AddVirtualAuthenticator(&webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportUsb, HasResidentKey: true, HasUserVerification: true,
			IsUserVerified: true, AutomaticPresenceSimulation: true,
		}).Do(ctx)
		return err
	}))
	w.run(chromedp.Navigate(s.url + "/login?next=/account"))
	w.look("login", "#login-login")
	w.fits()
	w.fill("#login-login", "superadmin", "#login-password", "adminsuper")
	w.press("form[action='/login'] button")

	w.look("new-password", "#new-old_password")
	w.fits()
	w.fill("#new-old_password", "adminsuper", "#new-password", good, "#new-again", good)
	w.press("form[action='/login/new-password'] button")

	w.look("account-first", "#profile")
	w.press("form[action='/login/set-up/app'] button")
	w.look("set-up", "img.qr")
	w.fits()
	var loaded bool
	w.run(chromedp.Evaluate("document.querySelector('img.qr').naturalWidth > 100", &loaded))
	if !loaded {
		t.Error("the QR code is not shown")
	}
	var secret string
	w.run(chromedp.Text("code.secret", &secret, chromedp.ByQuery))
	w.fill("#app-code", s.code(t, strings.ReplaceAll(secret, " ", "")))
	w.press("form[action='/login/set-up'] button")
	w.look("codes", "ol.codes li")
	w.press("a.button")

	w.run(chromedp.WaitVisible("#passkey-form", chromedp.ByQuery))
	w.fill("#passkey-name", "blue key", "#token-name", "nightly export")
	w.press("#passkey-form button")
	w.run(chromedp.WaitVisible("form[action='/account/passkeys/remove']", chromedp.ByQuery))
	w.fill("#token-name", "nightly export")
	w.press("form[action='/account/tokens'] button")
	w.look("token", "#token")
	w.press("a.button")
	w.run(chromedp.WaitVisible("#profile", chromedp.ByQuery))
	w.look("account", "#programs")
	w.fits()
	w.press("form[action='/logout'] button")

	w.look("signed-out", ".good")
	s.at(-20 * time.Minute)
	w.fill("#login-login", "superadmin", "#login-password", good)
	w.press("form[action='/login'] button")
	w.look("second-factor", "#passkey-use")
	w.fits()
	w.press("#passkey-use")
	w.run(chromedp.WaitVisible("#sign-out", chromedp.ByQuery))
	w.run(chromedp.WaitReady("#company option", chromedp.ByQuery))
	w.look("reports", "#company")
	w.fits()
	var company string
	w.run(chromedp.TextContent("#company option", &company, chromedp.ByQuery))
	if company != "Default" {
		t.Errorf("the company to choose is %q", company)
	}

	// Some time after the sign-in a passkey needs a code; a wrong one is not left to be typed behind.
	s.at(0)
	w.run(chromedp.Navigate(s.url+"/account"), chromedp.WaitVisible("#passkey-code", chromedp.ByQuery))
	w.fill("#passkey-name", "red key", "#passkey-password", good, "#passkey-code", "123456")
	w.press("#passkey-form button")
	w.run(chromedp.WaitVisible("#passkey-problem", chromedp.ByQuery))
	if got := w.says(`document.activeElement.id + document.querySelector("#passkey-code").value`); got != "passkey-code" {
		t.Errorf("after a wrong code the cursor and the code are %q", got)
	}
	w.mu.Lock()
	w.complaints = slices.DeleteFunc(w.complaints, func(c string) bool { return strings.HasSuffix(c, "/api/v1/me/passkeys/begin") }) // that it was refused
	w.mu.Unlock()
	w.run(chromedp.Navigate(s.url+"/"), chromedp.WaitVisible("#sign-out", chromedp.ByQuery))
	w.press("#sign-out")
	w.run(chromedp.WaitVisible(".good", chromedp.ByQuery))

	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.complaints {
		t.Errorf("the browser complains: %s", c)
	}
}
