package compose

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf16"

	"postrider/delivery"
)

// read returns what an attachment contains, from the first source it has:
// path, href, content. A data: URI's type becomes the attachment's if it has
// none, and its path and href, which are no name, are cleared.
func (l *loader) read(a *delivery.Attachment) (body, error) {
	field, source := "path", a.Path
	if source == "" {
		field, source = "href", a.Href
	}
	if source != "" {
		b, contentType, err := l.open(field, source, a.HTTPHeaders)
		if contentType != "" {
			a.ContentType = firstOf(a.ContentType, contentType)
			a.Path, a.Href = "", ""
		}
		return b, err
	}
	switch v := a.Content.(type) {
	case string:
		return l.decode(v, a.Encoding)
	case []byte:
		return body{data: v}, l.limit("content", int64(len(v)))
	case delivery.Fields:
		return l.nested(v)
	}
	if isAbsent(a.Content) {
		return l.decode("", a.Encoding)
	}
	return body{}, l.refuse("content", "must be a string or bytes, not "+kindOf(a.Content),
		"Write the content as a string (with encoding base64 for binary data) or as bytes.")
}

// nested reads content that is a map with path or href.
func (l *loader) nested(content delivery.Fields) (body, error) {
	for _, field := range []string{"href", "path"} {
		if source, _ := content[field].(string); source != "" {
			b, _, err := l.open("content."+field, source, headersOf(content["httpHeaders"]))
			return b, err
		}
	}
	return body{}, l.refuse("content", "is a map without path or href",
		"Write the content as a string (with encoding base64 for binary data) or as bytes, or give path or href an https: URL.")
}

func headersOf(v any) []delivery.Header {
	fields, _ := v.(delivery.Fields)
	var headers []delivery.Header
	for name, value := range fields {
		if s, ok := value.(string); ok {
			headers = append(headers, delivery.Header{Name: name, Value: s})
		}
	}
	return headers
}

// isAbsent reports whether a value is none to JavaScript.
func isAbsent(v any) bool {
	switch v.(type) {
	case nil, bool, int64, float64:
		return !delivery.Truthy(v)
	}
	return false
}

func kindOf(v any) string {
	switch v.(type) {
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case []any:
		return "an array"
	}
	return "what it is"
}

// open reads a URL, or says which file it is. The type is that of a data: URI,
// else empty. Anything that is no URL would be the path of a local file, and
// those are never read.
func (l *loader) open(field, source string, headers []delivery.Header) (body, string, error) {
	scheme, _, ok := strings.Cut(source, ":")
	scheme = strings.ToLower(trimSpace(scheme))
	if !ok || len(scheme) < 2 || strings.ContainsAny(scheme, `/\. `) {
		scheme = "file"
	}
	switch scheme {
	case "data":
		d, err := l.dataURI(field, source)
		return body{data: d.data}, d.contentType, err
	case "http", "https", "gs":
		return body{file: &file{
			where: l.where, field: field, source: trimSpace(source), headers: headers, stored: scheme == "gs",
		}}, "", nil
	case "file":
		return body{}, "", l.refuse(field, "names a local file, and those are never read",
			"Postrider does not read files of the machine it runs on, for any document. Put the content into the document, or give an https: or gs: URL.")
	}
	return body{}, "", l.refuse(field, fmt.Sprintf("has the scheme %.20q, which is not supported", scheme),
		"Attachments come from https:, http:, gs: and data: URLs.")
}

// cap is how much may be read for the attachment at hand.
func (l *loader) cap() int64 {
	return min(l.options.MaxAttachmentBytes, l.budget)
}

// capSetting names the setting that cap comes from.
func (l *loader) capSetting() string {
	if l.budget < l.options.MaxAttachmentBytes {
		return "MAX_MESSAGE_BYTES"
	}
	return "ATTACHMENT_MAX_BYTES"
}

func (l *loader) limit(field string, size int64) error {
	if size <= l.options.MaxAttachmentBytes {
		return nil
	}
	return l.refuse(field, fmt.Sprintf("is larger than allowed: %s, at most %s (ATTACHMENT_MAX_BYTES)", megabytes(size), megabytes(l.options.MaxAttachmentBytes)),
		"The limit is ATTACHMENT_MAX_BYTES. Send a smaller file, or a link to it, or raise the limit.")
}

// decode reads content in an encoding by one of Node's names for it, as
// leniently as Node does. What is UTF-8 or ASCII by name stays text.
func (l *loader) decode(content, encoding string) (body, error) {
	if err := l.limit("content", int64(len(content))/4*3); err != nil {
		return body{}, err
	}
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || isSpace(r) {
			return -1
		}
		return r
	}, strings.ToLower(encoding))
	switch name {
	case "", "utf8", "ascii", "usascii":
		return body{text: strings.ToValidUTF8(content, "\uFFFD"), isText: true}, l.limit("content", int64(len(content)))
	case "base64", "base64url":
		return body{data: decodeBase64(content)}, nil
	case "hex":
		return body{data: decodeHex(content)}, nil
	case "latin1", "binary":
		return body{data: decodeLatin1(content)}, nil
	case "utf16le", "ucs2":
		return body{data: decodeUTF16(content)}, nil
	}
	return body{}, l.refuse("encoding", fmt.Sprintf("is not supported: %.40q", encoding),
		"The encodings are base64, base64url, hex, utf8, ascii, latin1 and utf16le. Correct it, or leave it out for plain text.")
}

// decodeBase64 reads base64 with either alphabet, skipping what is in neither,
// up to the first "=".
func decodeBase64(s string) []byte {
	if data, err := base64.StdEncoding.DecodeString(s); err == nil {
		return data
	}
	clean := make([]byte, 0, len(s))
	for i := 0; i < len(s) && s[i] != '='; i++ {
		switch b := s[i]; {
		case b == '-':
			clean = append(clean, '+')
		case b == '_':
			clean = append(clean, '/')
		case isAlphanumeric(b) || b == '+' || b == '/':
			clean = append(clean, b)
		}
	}
	if len(clean)%4 == 1 {
		clean = clean[:len(clean)-1]
	}
	n, err := base64.RawStdEncoding.Decode(clean, clean)
	if err != nil {
		return nil // cannot be: only the alphabet is left
	}
	return clean[:n]
}

// decodeHex reads pairs of hexadecimal digits up to the first that is none.
func decodeHex(s string) []byte {
	data := make([]byte, len(s)/2)
	n, _ := hex.Decode(data, []byte(s[:len(s)/2*2]))
	return data[:n]
}

// decodeLatin1 takes the low byte of each UTF-16 unit.
func decodeLatin1(s string) []byte {
	data := make([]byte, 0, len(s))
	for _, u := range utf16.Encode([]rune(s)) {
		data = append(data, byte(u))
	}
	return data
}

func decodeUTF16(s string) []byte {
	data := make([]byte, 0, 2*len(s))
	for _, u := range utf16.Encode([]rune(s)) {
		data = append(data, byte(u), byte(u>>8))
	}
	return data
}
