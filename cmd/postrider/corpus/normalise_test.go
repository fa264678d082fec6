package corpus

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
)

// object and list are JSON's, as encoding/json decodes them.
type (
	object = map[string]any
	list   = []any
)

// field is one header field, unfolded.
type field struct{ name, value string }

const maxText = 6000 // bytes; a longer text is compared by its hash

var (
	generatedID = regexp.MustCompile(`<[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}@`)
	boundary    = regexp.MustCompile(`boundary="?[^";]+"?`)
	utcDate     = regexp.MustCompile(`\+0000$`)
	oldDate     = regexp.MustCompile(`\b(19|200\d|201\d)`)
	printable   = regexp.MustCompile(`^[\x20-\x7e\r\n\t]*$`)
	encodedWord = regexp.MustCompile(`=\?([^?\s]+)\?([bBqQ])\?([^?]*)\?=`)
)

// normalise reads a received message into what can be compared: its header
// fields (unfolded, decoded, date and generated Message-ID masked), and the
// tree of its parts.
func normalise(raw []byte) (headers list, root object) {
	fields, body := split(raw)
	for _, f := range fields {
		v := decodeWords(f.value)
		if strings.EqualFold(f.name, "date") && utcDate.MatchString(v) && !oldDate.MatchString(v) {
			v = "<DATE>"
		}
		v = generatedID.ReplaceAllString(v, "<UUID@")
		v = boundary.ReplaceAllString(v, "boundary=<B>")
		headers = append(headers, list{f.name, v})
	}
	return headers, part(fields, body, true)
}

// split separates header and body and unfolds the header's lines.
func split(raw []byte) ([]field, []byte) {
	var fields []field
	rest := raw
	for len(rest) > 0 {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		rest = after
		if len(line) == 0 {
			break
		}
		if (line[0] == ' ' || line[0] == '\t') && len(fields) > 0 {
			fields[len(fields)-1].value += text(line)
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		fields = append(fields, field{text(name), text(value)})
	}
	for i := range fields {
		fields[i].value = strings.TrimSpace(fields[i].value)
	}
	return fields, rest
}

// part describes one entity: type, params, disposition, dparams, cid, cte,
// other headers, and its content.
func part(fields []field, body []byte, top bool) object {
	kind, params := parameters(fields, "content-type")
	p := object{"type": cmp.Or(kind, "(none)")}
	if len(params) > 0 {
		p["params"] = params
	}
	if _, there := value(fields, "content-disposition"); there {
		disposition, dparams := parameters(fields, "content-disposition")
		p["disposition"] = disposition
		if len(dparams) > 0 {
			p["dparams"] = dparams
		}
	}
	if cid, there := value(fields, "content-id"); there {
		p["cid"] = cid
	}
	encoding, there := value(fields, "content-transfer-encoding")
	encoding = strings.ToLower(encoding)
	if there {
		p["cte"] = encoding
	}
	if others := otherHeaders(fields); !top && len(others) > 0 {
		p["headers"] = others
	}
	switch {
	case strings.HasPrefix(kind, "multipart/"):
		p["children"] = children(fields, body)
	case kind == "message/rfc822":
		inner, innerBody := split(body)
		p["message"] = list{part(inner, innerBody, false)}
	default:
		content(p, kind, params, decodeTransfer(encoding, body))
	}
	return p
}

// content adds a leaf's content: a text as it reads, the rest by hash.
func content(p object, kind string, params object, body []byte) {
	if strings.HasPrefix(cmp.Or(kind, "text/plain"), "text/") && len(body) < maxText {
		charset, _ := params["charset"].(string)
		s, ok := decodeCharset(cmp.Or(charset, "utf-8"), body)
		if !ok {
			s = latin1(body)
		}
		p["text"] = strings.ReplaceAll(s, "\r\n", "\n")
		return
	}
	sum := sha256.Sum256(body)
	p["sha256"], p["len"] = hex.EncodeToString(sum[:]), float64(len(body))
	if len(body) <= 200 && printable.Match(body) {
		p["ascii"] = string(body)
	}
}

// children reads the parts of a multipart body. What cannot be read as one ends
// the list with an entry that says so, which no case expects.
func children(fields []field, body []byte) list {
	v, _ := value(fields, "content-type")
	_, params, err := mime.ParseMediaType(v)
	if err != nil {
		return list{object{"unreadable": err.Error()}}
	}
	out := list{}
	for r := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		sub, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			return append(out, object{"unreadable": err.Error()})
		}
		inner, err := io.ReadAll(sub)
		if err != nil {
			return append(out, object{"unreadable": err.Error()})
		}
		var subFields []field
		for name, values := range sub.Header {
			for _, v := range values {
				subFields = append(subFields, field{name, v})
			}
		}
		out = append(out, part(subFields, inner, false))
	}
}

func value(fields []field, name string) (string, bool) {
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			return f.value, true
		}
	}
	return "", false
}

// otherHeaders are those that are not described otherwise, sorted.
func otherHeaders(fields []field) list {
	var out list
	for _, f := range fields {
		name := strings.ToLower(f.name)
		switch name {
		case "content-type", "content-disposition", "content-id", "content-transfer-encoding":
		default:
			out = append(out, list{name, decodeWords(f.value)})
		}
	}
	slices.SortFunc(out, func(a, b any) int { return cmp.Compare(compact(a), compact(b)) })
	return out
}

// parameters reads a field such as Content-Type: its value in lower case, and
// its parameters but the boundary.
func parameters(fields []field, name string) (string, object) {
	v, there := value(fields, name)
	if !there {
		return "", nil
	}
	kind, params, err := mime.ParseMediaType(v)
	if err != nil {
		kind, params = lenientParameters(v)
	}
	out := object{}
	for k, v := range params {
		if k != "boundary" {
			out[k] = decodeWords(v)
		}
	}
	return kind, out
}

// lenientParameters splits at semicolons whatever the strict parser refuses:
// several parameters of one name, spaces in an unquoted value.
func lenientParameters(v string) (string, map[string]string) {
	params := map[string]string{}
	kind, rest, _ := strings.Cut(v, ";")
	for rest != "" {
		var p string
		p, rest, _ = strings.Cut(rest, ";")
		k, v, _ := strings.Cut(p, "=")
		params[strings.ToLower(strings.TrimSpace(k))] = strings.Trim(strings.TrimSpace(v), `"`)
	}
	return strings.ToLower(strings.TrimSpace(kind)), params
}

func decodeTransfer(encoding string, body []byte) []byte {
	switch encoding {
	case "base64":
		return decodeBase64(body)
	case "quoted-printable":
		out, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
		if err != nil {
			return body // shows as a difference
		}
		return out
	default:
		return body
	}
}

// decodeBase64 ignores what is not of the alphabet, padding included.
func decodeBase64(b []byte) []byte {
	clean := bytes.Map(func(r rune) rune {
		if r < 0x80 && strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", r) {
			return r
		}
		return -1
	}, b)
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
	n, _ := base64.RawStdEncoding.Decode(out, clean) // what precedes a damage counts
	return out[:n]
}

// decodeWords decodes RFC 2047's encoded words. Neighbours of one charset are
// joined before they are decoded: senders split characters between them.
func decodeWords(s string) string {
	var out strings.Builder
	var pending []byte
	charset, pos, wasWord := "", 0, false
	flush := func() {
		decoded, ok := decodeCharset(charset, pending)
		if !ok {
			decoded = strings.ToValidUTF8(string(pending), "\ufffd")
		}
		out.WriteString(decoded)
		pending, charset = nil, ""
	}
	for _, m := range encodedWord.FindAllStringSubmatchIndex(s, -1) {
		if gap := s[pos:m[0]]; strings.TrimSpace(gap) != "" || !wasWord {
			flush()
			out.WriteString(gap)
		}
		cs, _, _ := strings.Cut(strings.ToLower(s[m[2]:m[3]]), "*")
		if charset != "" && charset != cs {
			flush()
		}
		data := s[m[6]:m[7]]
		if strings.EqualFold(s[m[4]:m[5]], "b") {
			pending = append(pending, decodeBase64([]byte(data))...)
		} else {
			q := strings.NewReader(strings.ReplaceAll(data, "_", "=20"))
			b, _ := io.ReadAll(quotedprintable.NewReader(q)) // what precedes a damage counts
			pending = append(pending, b...)
		}
		charset, pos, wasWord = cs, m[1], true
	}
	flush()
	out.WriteString(s[pos:])
	return out.String()
}

// decodeCharset reports false where the charset is unknown or b is not in it.
func decodeCharset(name string, b []byte) (string, bool) {
	var enc encoding.Encoding
	switch strings.ToLower(name) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		enc = unicode.UTF8
	case "iso-8859-1", "latin1":
		enc = charmap.ISO8859_1
	default:
		var err error
		if enc, err = htmlindex.Get(name); err != nil {
			return "", false
		}
	}
	out, err := enc.NewDecoder().Bytes(b)
	if err != nil || (enc == unicode.UTF8 && !bytes.Equal(out, b)) {
		return "", false
	}
	return string(out), true
}

func latin1(b []byte) string {
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = rune(c)
	}
	return string(out)
}

// text reads header bytes as UTF-8, or else as Latin-1.
func text(b []byte) string {
	if s, ok := decodeCharset("utf-8", b); ok {
		return s
	}
	return latin1(b)
}
