package inbox

import (
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

const maxLinks = 100

var (
	cidURL   = regexp.MustCompile(`(?i)cid:([^\s"'<>()\\]+)`)
	plainURL = regexp.MustCompile(`https?://[^\s<>"'\x60]+[^\s<>"'\x60.,;:!?)\]]`)
)

// rewriteHTML returns the HTML with every cid: URL that name knows replaced,
// in attributes and style sheets. It removes <link>, which can only reach out to
// other servers here. Everything else stays as it is: the response's
// Content-Security-Policy is what makes it harmless.
func rewriteHTML(source string, name func(cid string) (url string, ok bool)) string {
	var out strings.Builder
	replace := func(s string) string {
		return cidURL.ReplaceAllStringFunc(s, func(match string) string {
			if url, ok := name(match[len("cid:"):]); ok {
				return url
			}
			return match
		})
	}
	inStyle := false
	tokens := html.NewTokenizer(strings.NewReader(source))
	for {
		kind := tokens.Next()
		raw := string(tokens.Raw()) // Token() below overwrites it
		switch kind {
		case html.ErrorToken:
			out.WriteString(raw)
			return out.String()
		case html.StartTagToken, html.SelfClosingTagToken:
			token := tokens.Token()
			inStyle = token.Data == "style"
			if token.Data == "link" {
				continue
			}
			out.WriteString(rewriteTag(token, raw, replace))
		case html.TextToken:
			if inStyle {
				raw = replace(raw)
			}
			out.WriteString(raw)
		default:
			inStyle = false
			out.WriteString(raw)
		}
	}
}

// rewriteTag returns raw unless an attribute of the tag holds a cid: URL.
func rewriteTag(token html.Token, raw string, replace func(string) string) string {
	changed := false
	for i, a := range token.Attr {
		if v := replace(a.Val); v != a.Val {
			token.Attr[i].Val = v
			changed = true
		}
	}
	if !changed {
		return raw
	}
	return token.String()
}

// Link is somewhere a mail points to.
type Link struct {
	URL  string `json:"url"`
	Text string `json:"text,omitempty"` // what the reader of the mail sees; empty for a URL in plain text
}

// Links returns where the mail points to, in order and each URL once, at most
// 100: the web and mail links of its HTML or, without one, of its text. The page
// lists them because links inside the sandboxed frame lead nowhere, and tests
// because they follow them.
func (m Message) Links() []Link {
	if m.HTML == "" {
		var links []Link
		for _, url := range plainURL.FindAllString(m.Text, -1) {
			links = appendLink(links, Link{URL: url})
		}
		return links
	}
	return htmlLinks(m.HTML)
}

func htmlLinks(source string) []Link {
	var links []Link
	var open *Link
	tokens := html.NewTokenizer(strings.NewReader(source))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return links
		case html.StartTagToken:
			if token := tokens.Token(); token.Data == "a" {
				open = &Link{}
				for _, a := range token.Attr {
					if a.Key == "href" {
						open.URL = strings.TrimSpace(a.Val)
					}
				}
			} else if open != nil && token.Data == "img" {
				open.Text += " " + attribute(token, "alt") + " "
			}
		case html.TextToken:
			if open != nil {
				open.Text += string(tokens.Text())
			}
		case html.EndTagToken:
			if name, _ := tokens.TagName(); open != nil && string(name) == "a" {
				links = appendLink(links, *open)
				open = nil
			}
		}
	}
}

func attribute(token html.Token, key string) string {
	for _, a := range token.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// appendLink adds a link if it leads to the web or to a mail address, is new,
// and there are not too many yet.
func appendLink(links []Link, link Link) []Link {
	lower := strings.ToLower(link.URL)
	web := strings.HasPrefix(lower, "https://") || strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "mailto:")
	seen := slices.ContainsFunc(links, func(l Link) bool { return l.URL == link.URL })
	if !web || seen || len(links) == maxLinks {
		return links
	}
	link.URL = clean(link.URL)
	link.Text = shorten(clean(oneLine(link.Text)), maxPreviewBytes)
	return append(links, link)
}

// visibleText returns the text of an HTML document, for previews and searches,
// as far as those look.
func visibleText(source string) string {
	var out strings.Builder
	skip := ""
	tokens := html.NewTokenizer(strings.NewReader(source))
	for out.Len() < maxSearchBytes {
		switch tokens.Next() {
		case html.ErrorToken:
			return clean(out.String())
		case html.StartTagToken:
			name, _ := tokens.TagName()
			if n := string(name); n == "style" || n == "script" || n == "title" {
				skip = n
			}
			out.WriteByte(' ')
		case html.EndTagToken:
			skip = ""
		case html.TextToken:
			if skip == "" {
				out.WriteString(html.UnescapeString(string(tokens.Raw())))
			}
		}
	}
	return clean(out.String())
}
