package inbox_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"postrider/cmd/postrider/inbox"
)

// browser returns the context of a fresh Chromium. Without one the test is
// skipped, but in CI it fails: there it must have run.
func browser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("no Chromium found, and CI is set: install the package chromium")
		}
		t.Skip("SKIPPED: the inbox's page is not tested in a browser; install the package chromium")
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(stop)
	ctx, stopBrowser := chromedp.NewExecAllocator(
		ctx, chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.NoFirstRun, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), // containers have little of it
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1200, 900),
	)
	ctx, stopTab := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		stopTab()
		stopBrowser()
	})
	return ctx
}

// do runs actions and fails the test if one of them does.
func do(ctx context.Context, t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// ask runs an action and returns its answer.
func ask[T any](ctx context.Context, t *testing.T, action chromedp.Action[T]) T {
	t.Helper()
	answer, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// screenshot takes a picture of what the browser shows and saves it to the
// folder that INBOX_SCREENSHOTS names, if any, for people to look at.
func screenshot(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	png := ask(ctx, t, chromedp.CaptureScreenshot())
	if len(png) == 0 {
		t.Error("the screenshot is empty")
	}
	if folder := os.Getenv("INBOX_SCREENSHOTS"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, name+".png"), png, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// frame returns the context of the frame that shows the mail's HTML. Chromium
// gives sandboxed frames a process, and so a target, of their own.
func frame(ctx context.Context, t *testing.T) context.Context {
	t.Helper()
	var id target.ID
	until(t, "the frame has a target", func() bool {
		targets, err := chromedp.Targets(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range targets {
			if strings.HasSuffix(info.URL, "/html") {
				id = info.TargetID
			}
		}
		return id != ""
	})
	inside, leave := chromedp.NewContext(ctx, chromedp.WithTargetID(id))
	t.Cleanup(leave)
	return inside
}

func TestBrowserShowsMailsAndRunsNoneOfTheirScripts(t *testing.T) {
	box := run(t, inbox.Options{})
	ctx := browser(t)
	box.send(t, "a@b.test", []string{"x@y.test"}, hostile)
	do(ctx, t, chromedp.Navigate(box.page), chromedp.Click(chromedp.CSS(".mails a")), chromedp.WaitReady(chromedp.CSS("iframe")))
	inside := frame(ctx, t)
	if got := ask(inside, t, chromedp.Text(chromedp.CSS("#seen"))); got != "shown" {
		t.Errorf("the frame shows %q", got)
	}
	titles := []string{ask(ctx, t, chromedp.Title()), ask(inside, t, chromedp.Title())}
	do(ctx, t, chromedp.Navigate(box.page+"/mails/1/html"), chromedp.WaitReady(chromedp.CSS("#seen")))
	titles = append(titles, ask(ctx, t, chromedp.Title()))
	if strings.Contains(strings.Join(titles, " "), "owned") {
		t.Errorf("a script of the mail ran: titles %q", titles)
	}
	// The same HTML does run its script where nothing forbids it: the check can fail.
	_, body, _ := strings.Cut(hostile, "<script>document.title")
	control := "data:text/html,<script>document.title" + url.PathEscape(body[:strings.Index(body, "--b")])
	do(ctx, t, chromedp.Navigate(control), chromedp.WaitReady(chromedp.CSS("#seen")))
	if got := ask(ctx, t, chromedp.Title()); got != "owned" {
		t.Errorf("the control's title is %q: this test would not notice a script", got)
	}
}

func TestBrowserShowsInlineImages(t *testing.T) {
	box := run(t, inbox.Options{})
	ctx := browser(t)
	box.send(t, "a@b.test", []string{"x@y.test"}, rich)
	do(ctx, t, chromedp.Navigate(box.page+"/mails/1"), chromedp.WaitReady(chromedp.CSS("iframe")))
	// The debugger may evaluate where the mail's own scripts may not.
	const width = `(() => { const i = document.querySelector("img"); return i.decode().then(() => i.naturalWidth) })()`
	if got := ask(frame(ctx, t), t, chromedp.Evaluate[int](width, chromedp.EvalAwaitPromise)); got != 1 {
		t.Errorf("the cid: image is %d pixels wide, want 1", got)
	}
}

func TestBrowserListRefreshesItself(t *testing.T) {
	box := run(t, inbox.Options{})
	ctx := browser(t)
	do(ctx, t, chromedp.Navigate(box.page), chromedp.WaitVisible(chromedp.CSS(".empty")))
	for range 3 {
		box.send(t, "a@b.test", []string{"x@y.test"}, plain)
	}
	do(ctx, t, chromedp.WaitVisible(chromedp.CSS(`.mails a[href="/mails/3"]`)), chromedp.Focus(chromedp.CSS(`.mails a[href="/mails/2"]`)))
	box.send(t, "a@b.test", []string{"x@y.test"}, plain)
	do(ctx, t, chromedp.WaitVisible(chromedp.CSS(`.mails a[href="/mails/4"]`)))
	if got := ask(ctx, t, chromedp.Evaluate[string](`document.activeElement.getAttribute("href")`)); got != "/mails/2" {
		t.Errorf("the keyboard focus moved to %q", got)
	}
	do(ctx, t, chromedp.Click(chromedp.CSS("form[action='/delete'] button")), chromedp.WaitVisible(chromedp.CSS(".empty")))
	if got := len(box.Mails()); got != 0 {
		t.Errorf("%d mails after Delete all", got)
	}
}

func TestBrowserPagesFitEveryScreen(t *testing.T) {
	box := run(t, inbox.Options{})
	ctx := browser(t)
	for _, m := range gallery() {
		box.send(t, "bounces@shop.test", []string{"ada@example.test", "archive@example.test"}, m)
	}
	screens := map[string][]chromedp.Action[chromedp.Void]{
		"desktop": {chromedp.EmulateViewport(1200, 900), scheme("light")},
		"dark":    {chromedp.EmulateViewport(1200, 900), scheme("dark")},
		"phone":   {chromedp.EmulateViewport(390, 844, chromedp.EmulateScale(2)), scheme("light")},
	}
	pages := map[string]string{
		"list": "/", "search": "/?q=nothing", "html": "/mails/3", "files": "/mails/3?view=files",
		"headers": "/mails/3?view=headers", "source": "/mails/3?view=source", "text": "/mails/1", "broken": "/mails/4",
	}
	for screen, setup := range screens {
		do(ctx, t, setup...)
		for page, path := range pages {
			do(ctx, t, chromedp.Navigate(box.page+path), chromedp.WaitVisible(chromedp.CSS("main")))
			if ask(ctx, t, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > innerWidth")) {
				t.Errorf("%s on %s scrolls sideways", page, screen)
			}
			screenshot(ctx, t, page+"-"+screen)
		}
	}
}

// scheme makes the browser prefer a color scheme.
func scheme(value string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}},
		})
		return err
	})
}

// gallery is a handful of mails as they look in real life.
func gallery() []string {
	html := `<div style="font-family:Georgia,serif;max-width:34rem;margin:2rem auto;padding:0 1rem;color:#222">` +
		`<p><img src="cid:logo@x" width="48" height="48" alt="Logo" style="background:#2f6f5e;border-radius:8px"></p><h1>Thank you, Ada</h1>` +
		`<p>Your order <strong>4711</strong> is on its way and should arrive on Friday.</p>` +
		`<p><a href="https://shop.test/track/4711">Track it</a> or <a href="https://shop.test/help">ask for help</a>.</p></div>`
	order := strings.Replace(rich, `<style>p{background:url(cid:logo@x)}</style><p>Thanks! <img src="cid:logo@x" alt="logo"> `+
		`<a href="https://example.test/track">Track <b>it</b></a></p>`, html, 1)
	order = strings.Replace(order, "To: bob@rcpt.test\n", "To: Ada Lovelace <ada@example.test>\nReply-To: help@shop.test\n", 1)
	order = strings.Replace(order, "Subject: Your order\n", "Subject: Your order 4711 is on its way\n", 1)
	return []string{
		"From: Postrider <noreply@sender.test>\nTo: Ada <ada@example.test>\nSubject: Reset your password\n\n" +
			"Hello Ada,\n\nsomebody, probably you, asked for a new password. Follow this link within an hour:\n\n" +
			"    https://example.test/reset?token=" + strings.Repeat("0123456789abcdef", 8) + "\n\nIf it wasn't you, ignore this mail.\n",
		"From: ops@sender.test\nTo: team@example.test\n\nNightly backup finished in 12 minutes.\n",
		order,
		"this line is no header\n\nand so this is no mail\n",
		"From: =?utf-8?b?5bGx55Sw5aSq6YOO?= <taro@example.test>\nTo: ada@example.test\nSubject: " +
			"=?utf-8?b?5pil44Gu44GU5oyo5ou2?= and a subject that goes on for so long that no list could ever show the whole of it on one line of the screen\n\nText\n",
	}
}
