package inbox

import (
	"encoding/json"
	"net/http"
	"time"
)

// apiEnvelope is an [Envelope] as JSON.
type apiEnvelope struct {
	From string   `json:"from"`
	To   []string `json:"to"`
}

// apiSummary is a mail in the JSON list.
type apiSummary struct {
	ID          string      `json:"id"`
	Received    time.Time   `json:"received"`
	Envelope    apiEnvelope `json:"envelope"`
	From        string      `json:"from"`
	To          string      `json:"to"`
	Subject     string      `json:"subject"`
	Size        int         `json:"size"` // bytes of the raw mail
	Attachments int         `json:"attachments"`
	Problems    []string    `json:"problems"`
}

// apiPart is a part in the JSON of one mail.
type apiPart struct {
	Index    int    `json:"index"`
	Kind     Kind   `json:"kind"`
	Type     string `json:"type"`
	Filename string `json:"filename,omitempty"`
	CID      string `json:"cid,omitempty"`
	Inline   bool   `json:"inline"`
	Size     int    `json:"size"` // bytes, decoded
	URL      string `json:"url"`
}

// apiContent is one mail as JSON.
type apiContent struct {
	apiSummary
	Bcc     []string  `json:"bcc"` // envelope recipients that To and Cc don't name
	Headers []Header  `json:"headers"`
	Text    string    `json:"text"`
	HTML    string    `json:"html"`
	AMP     string    `json:"amp"`
	Parts   []apiPart `json:"parts"`
	Links   []Link    `json:"links"`
	RawURL  string    `json:"rawUrl"`
}

func summary(m Mail) apiSummary {
	return apiSummary{
		ID:          m.ID,
		Received:    m.Received,
		Envelope:    apiEnvelope{From: m.Envelope.From, To: list(m.Envelope.To)},
		From:        m.From,
		To:          m.To,
		Subject:     m.Subject,
		Size:        len(m.Raw),
		Attachments: m.Attachments,
		Problems:    list(m.Problems),
	}
}

// apiList answers with the mails, newest first.
func (b *Inbox) apiList(w http.ResponseWriter, r *http.Request) {
	found := []apiSummary{}
	for _, m := range b.Mails() {
		if m.matches(r.FormValue("q")) {
			found = append(found, summary(m))
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"mails": found})
}

// apiMail answers with one mail.
func (b *Inbox) apiMail(w http.ResponseWriter, r *http.Request) {
	m, ok := b.Mail(r.PathValue("id"))
	if !ok {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "the inbox has no mail " + r.PathValue("id")})
		return
	}
	p := Parse(m.Raw)
	content := apiContent{
		apiSummary: summary(m),
		Bcc:        list(hidden(m.Envelope, p)),
		Headers:    list(p.Headers),
		Text:       p.Text,
		HTML:       p.HTML,
		AMP:        p.AMP,
		Parts:      []apiPart{},
		Links:      list(p.Links()),
		RawURL:     mailURL(m.ID) + "/raw",
	}
	for _, part := range p.Parts {
		content.Parts = append(content.Parts, apiPart{
			Index: part.Index, Kind: part.Kind, Type: part.Type, Filename: part.Filename, CID: part.CID,
			Inline: part.Inline, Size: len(part.Content), URL: fileURL(m.ID, part.Index),
		})
	}
	writeJSON(w, http.StatusOK, content)
}

// apiDelete empties the inbox.
func (b *Inbox) apiDelete(w http.ResponseWriter, _ *http.Request) {
	b.Clear()
	w.WriteHeader(http.StatusNoContent)
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	content, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		http.Error(w, "The answer could not be written as JSON.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(content, '\n'))
}

// list makes a nil slice an empty one: JSON readers expect [].
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
