package inbox

import (
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// mailPolicy is the Content-Security-Policy of a mail's own HTML: styles and
// pictures, and nothing that acts or reaches out.
const mailPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; font-src data:; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'self'; img-src 'self' data:"

// imagePolicy is that of an inline image: an SVG is a document, should somebody
// open it as one.
const imagePolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"

// imageTypes are the media types that are served as what they claim to be.
func imageTypes() []string {
	return []string{
		"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/svg+xml",
		"image/x-icon", "image/vnd.microsoft.icon",
	}
}

// serveHTML serves the mail's HTML for the frame.
func serveHTML(w http.ResponseWriter, r *http.Request, m Mail) {
	message := Parse(m.Raw)
	policy := mailPolicy
	if r.FormValue("images") == "remote" {
		policy += " https: http:"
	}
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	body := rewriteHTML(message.HTML, func(cid string) (string, bool) {
		for _, p := range message.Parts {
			if p.CID != "" && p.isImage() && sameCID(p.CID, cid) {
				return inlineURL(m.ID, p.Index), true
			}
		}
		return "", false
	})
	_, _ = w.Write([]byte(body))
}

// sameCID compares a Content-ID with what follows cid: in a URL, where it may
// be percent-encoded (RFC 2392).
func sameCID(id, reference string) bool {
	return id == reference || id == unescapeURL(reference)
}

// serveRaw serves the mail as it came in.
func serveRaw(w http.ResponseWriter, r *http.Request, m Mail) {
	if r.FormValue("download") != "" {
		download(w, "mail-"+m.ID+".eml", m.Raw)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(m.Raw)
}

// serveInline serves an image of the mail, for the frame and for previews.
func serveInline(w http.ResponseWriter, r *http.Request, m Mail) {
	p, ok := requestedPart(r, m)
	if !ok || !p.isImage() {
		http.Error(w, "The mail has no such image.", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Security-Policy", imagePolicy)
	w.Header().Set("Content-Type", p.Type)
	_, _ = w.Write(p.Content)
}

// serveFile serves any part of the mail as a download.
func serveFile(w http.ResponseWriter, r *http.Request, m Mail) {
	p, ok := requestedPart(r, m)
	if !ok {
		http.Error(w, "The mail has no such part.", http.StatusNotFound)
		return
	}
	download(w, p.safeName(), p.Content)
}

func requestedPart(r *http.Request, m Mail) (Part, bool) {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil {
		return Part{}, false
	}
	return Parse(m.Raw).Part(n)
}

// download answers with a file that no browser opens by itself.
func download(w http.ResponseWriter, name string, content []byte) {
	disposition := mime.FormatMediaType("attachment", map[string]string{"filename": name})
	if disposition == "" {
		disposition = "attachment"
	}
	w.Header().Set("Content-Disposition", disposition)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content)
}

func (p Part) isImage() bool { return slices.Contains(imageTypes(), p.Type) }

// safeName returns a file name that stays in the folder it is saved to, is not
// hidden there and reads as what it is: no path, no control or direction
// characters.
func (p Part) safeName() string {
	name := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), strings.ContainsRune(`<>:"|?*`, r):
			return -1
		case r == '\\':
			return '/'
		}
		return r
	}, p.Filename)
	name = strings.TrimLeft(path.Base(name), ". ")
	name = strings.TrimSpace(name)
	if name == "" || name == "/" {
		return "part-" + strconv.Itoa(p.Index) + p.extension()
	}
	if runes := []rune(name); len(runes) > 150 {
		name = string(runes[len(runes)-150:]) // keeps the extension
	}
	return name
}

// extension returns a file name extension for a part without a name.
func (p Part) extension() string {
	switch p.Type {
	case "message/rfc822":
		return ".eml"
	case "text/plain":
		return ".txt"
	case "text/html":
		return ".html"
	}
	if known, err := mime.ExtensionsByType(p.Type); err == nil && len(known) > 0 {
		return known[0]
	}
	return ".bin"
}

func mailURL(id string) string { return "/mails/" + id }

func inlineURL(id string, part int) string {
	return mailURL(id) + "/inline/" + strconv.Itoa(part)
}

func fileURL(id string, part int) string {
	return mailURL(id) + "/files/" + strconv.Itoa(part)
}
