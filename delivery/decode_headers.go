package delivery

import (
	"strconv"
	"strings"
	"unicode"
)

// headersOf reads the headers field as nodemailer does: a map of names to
// values or to lists of values, one map {key, value}, or a list of such maps.
// Values that are empty, null, zero or false are left out, as are maps without
// a value of their own. Anything but a map or list is ignored.
func headersOf(v any) ([]Header, *Failure) {
	if _, bytes := v.([]byte); bytes {
		return nil, headersFault(value{v: v, path: "headers", present: true})
	}
	if !isObject(v) && !isList(v) {
		return nil, nil
	}
	var h headers
	h.addAll(value{v: v, path: "headers", present: true})
	return h.list, h.fault
}

func headersFault(o value) *Failure {
	var c checker
	c.wrong(o, "must be a map", "a map of header names and values, as {\"X-Campaign\": \"spring\"}")
	return c.failure("email configuration")
}

// headers gathers header fields.
type headers struct {
	list  []Header
	fault *Failure // the first
}

// addAll takes in all headers of a map or list.
func (h *headers) addAll(o value) {
	key, val := o.at("key"), o.at("value")
	if list, ok := o.v.([]any); ok {
		for i, v := range list {
			e := value{v: v, path: o.sub(strconv.Itoa(i)), present: true}
			if v == nil {
				if h.fault == nil {
					h.fault = headersFault(e)
				}
				return
			}
			h.add(e.at("key").v, e.at("value").v, e.path)
		}
		return
	}
	if Truthy(key.v) && Truthy(val.v) {
		h.add(key.v, val.v, o.path)
		return
	}
	for _, name := range keys(o.v) {
		v, _ := member(o.v, name)
		h.add(name, v, o.sub(name))
	}
}

// add takes in one header, or those in a key that is itself a map.
func (h *headers) add(key, v any, path string) {
	if !Truthy(v) && (isObject(key) || isList(key)) {
		h.addAll(value{v: key, path: path, present: true})
		return
	}
	if list, ok := v.([]any); ok {
		for _, v := range list {
			h.add(key, v, path)
		}
		return
	}
	name := ""
	if Truthy(key) {
		name = strings.TrimSpace(javaScriptString(key))
	}
	if text := headerValue(name, v); !blank(text) {
		h.list = append(h.list, Header{Name: name, Value: text})
	}
}

// headerValue is the text of a header's value. A map speaks by its member
// value, or in a header of addresses by its name and address.
func headerValue(name string, v any) string {
	if !Truthy(v) {
		return ""
	}
	if !isObject(v) {
		return javaScriptString(v)
	}
	o := value{v: v}
	switch strings.ToLower(name) {
	case "from", "sender", "to", "cc", "bcc", "reply-to":
		return mailbox(o.text("name"), o.text("address"))
	}
	if inner := o.at("value").v; Truthy(inner) {
		return javaScriptString(inner)
	}
	return ""
}

// mailbox writes an address with its display name, quoted (RFC 5322 §3.4).
func mailbox(name, address string) string {
	if name == "" || address == "" {
		return address
	}
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)
	return `"` + quoted + `" <` + address + `>`
}

func blank(s string) bool {
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' }) == ""
}
