package inbox

import (
	"cmp"
	"fmt"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
	"time"
)

// maxShownBytes bounds a text on a page; the whole of it can be downloaded.
const maxShownBytes = 512 << 10

// listView is what list.html shows.
type listView struct {
	Query   string
	Version string // of the list; live.js compares it
	Total   int    // mails in the inbox
	Rows    []row  // those the query finds, newest first
	Address string // where mail is accepted; empty if it is not
}

// row is a mail in the list.
type row struct {
	Mail
	URL        string
	Sender     string
	Recipients string
	When       string // short, local time
	Time       string // for <time datetime>
}

// goneView is what gone.html shows.
type goneView struct{ ID string }

// mailView is what mail.html shows.
type mailView struct {
	Row     row
	Message Message

	Bcc   []string // envelope recipients that the header does not name
	Tabs  []tab
	View  string // the tab shown
	Files []file
	Links []Link
	Shown string // the text of the tabs that show one
	Cut   bool   // Shown is not all of it

	RemoteImages bool // ?images=remote
}

// tab is one way to look at a mail.
type tab struct {
	Name, Title, URL string
	Count            int // shown beside the title if not 0
	Current          bool
}

// file is a part in the list of files.
type file struct {
	Part
	Name       string // safe to save under
	URL        string
	PreviewURL string // empty unless it is an image
	Size       int
}

// showList renders the list.
func (b *Inbox) showList(w http.ResponseWriter, r *http.Request) {
	mails, version := b.snapshot()
	view := listView{
		Query:   strings.TrimSpace(r.FormValue("q")),
		Version: version,
		Total:   len(mails),
		Address: b.smtpAddress(),
	}
	now := time.Now()
	for _, m := range mails {
		if m.matches(view.Query) {
			view.Rows = append(view.Rows, newRow(m, now))
		}
	}
	b.render(w, http.StatusOK, "list.html", view)
}

func newRow(m Mail, now time.Time) row {
	recipients := m.Envelope.To
	if len(recipients) > 3 {
		recipients = append(recipients[:3:3], fmt.Sprintf("%d more", len(recipients)-3))
	}
	local := m.Received.In(now.Location())
	layout := "15:04:05"
	if local.YearDay() != now.YearDay() || local.Year() != now.Year() {
		layout = "2 Jan 15:04"
	}
	return row{
		Mail:       m,
		URL:        mailURL(m.ID),
		Sender:     sender(m),
		Recipients: strings.Join(recipients, ", "),
		When:       local.Format(layout),
		Time:       m.Received.Format(time.RFC3339),
	}
}

// sender names who a mail is from: by name, or else by address.
func sender(m Mail) string {
	if a, err := mail.ParseAddress(m.From); err == nil {
		return cmp.Or(a.Name, a.Address)
	}
	return cmp.Or(m.From, m.Envelope.From)
}

// showMail renders one mail.
func (b *Inbox) showMail(w http.ResponseWriter, r *http.Request, m Mail) {
	view := mailView{Row: newRow(m, time.Now()), Message: Parse(m.Raw)}
	if len(view.Message.Headers) > 0 { // without a header nobody knows who was named in it
		view.Bcc = hidden(m.Envelope, view.Message)
	}
	view.Links = view.Message.Links()
	view.RemoteImages = r.FormValue("images") == "remote"
	for _, p := range view.Message.Parts {
		if p.Kind == File {
			view.Files = append(view.Files, newFile(m.ID, p))
		}
	}
	view.Tabs = view.tabs(r.FormValue("view"))
	view.choose(m.Raw)
	b.render(w, http.StatusOK, "mail.html", view)
}

func newFile(id string, p Part) file {
	f := file{Part: p, Name: p.safeName(), URL: fileURL(id, p.Index), Size: len(p.Content)}
	if p.isImage() {
		f.PreviewURL = inlineURL(id, p.Index)
	}
	return f
}

// tabs returns the ways to look at the mail; the one asked for is current, or
// else the first.
func (v *mailView) tabs(wanted string) []tab {
	all := []struct {
		tab
		there bool
	}{
		{tab{Name: "html", Title: "HTML"}, v.Message.HTML != ""},
		{tab{Name: "text", Title: "Text"}, v.Message.Text != ""},
		{tab{Name: "amp", Title: "AMP"}, v.Message.AMP != ""},
		{tab{Name: "files", Title: "Files", Count: len(v.Files)}, len(v.Files) > 0},
		{tab{Name: "headers", Title: "Headers"}, len(v.Message.Headers) > 0},
		{tab{Name: "source", Title: "Source"}, true},
	}
	var tabs []tab
	current := 0
	for _, t := range all {
		if !t.there {
			continue
		}
		t.URL = v.Row.URL + "?view=" + t.Name
		if t.Name == wanted {
			current = len(tabs)
		}
		tabs = append(tabs, t.tab)
	}
	tabs[current].Current = true
	v.View = tabs[current].Name
	return tabs
}

// choose fills in the text of the current tab.
func (v *mailView) choose(raw []byte) {
	switch v.View {
	case "text":
		v.Shown = v.Message.Text
	case "amp":
		v.Shown = v.Message.AMP
	case "source":
		v.Cut = len(raw) > maxShownBytes
		v.Shown = clean(string(raw[:min(len(raw), maxShownBytes)]))
	}
	if len(v.Shown) > maxShownBytes {
		v.Shown, v.Cut = shorten(v.Shown, maxShownBytes), true
	}
}

// formatSize spells a number of bytes for people.
func formatSize(n int) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000*1000:
		return fmt.Sprintf("%.1f kB", float64(n)/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1000/1000)
}

// unescapeURL undoes percent-encoding; what is not encoded rightly stays.
func unescapeURL(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}
