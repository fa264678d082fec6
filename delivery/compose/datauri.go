package compose

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// dataURI is the content of a data: URI (RFC 2397).
type dataURI struct {
	contentType string // without parameters; never empty
	data        []byte
}

func (l *loader) dataURI(field, uri string) (dataURI, error) {
	d, ok := parseDataURI(uri)
	if !ok {
		return dataURI{}, l.refuse(field, "is not a data: URI: it has no comma",
			"A data: URI is data:[type][;base64],content (RFC 2397). Correct it.")
	}
	return d, l.limit(field, int64(len(d.data)))
}

// parseDataURI reads a data: URI with the results of the extension's mail
// library: parameters of the type are dropped, and data that cannot be
// percent-decoded as UTF-8 is taken as written.
func parseDataURI(uri string) (dataURI, bool) {
	meta, data, ok := strings.Cut(uri, ",")
	if !ok {
		return dataURI{}, false
	}
	_, meta, _ = strings.Cut(meta, ":")
	parts := strings.Split(meta, ";")
	encoding := strings.ToLower(trimSpace(parts[len(parts)-1]))
	if slices.Contains([]string{"base64", "utf8", "utf-8"}, encoding) {
		parts = parts[:len(parts)-1]
	}
	d := dataURI{contentType: "application/octet-stream"}
	if len(parts) > 0 && parts[0] != "" {
		d.contentType = parts[0]
	}
	if encoding == "base64" {
		d.data = decodeBase64(data)
		return d, true
	}
	if plain, err := url.PathUnescape(data); err == nil && utf8.ValidString(plain) {
		data = plain
	}
	d.data = []byte(data)
	return d, true
}
