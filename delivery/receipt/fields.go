package receipt

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-message/textproto"
)

// maxValue bounds a field's value, in bytes: a line of mail is no longer (RFC 5322
// §2.1.1).
const maxValue = 998

// notification reads a notification's fields (RFC 8098 §3.2).
func notification(h textproto.Header) (n Notification, err error) {
	if err := checkDisposition(h); err != nil {
		return Notification{}, err
	}
	id, err := value(h, "Original-Message-ID", true)
	if err != nil {
		return Notification{}, err
	}
	if n.OriginalMessageID = messageID(id); n.OriginalMessageID == "" {
		return Notification{}, &Fault{"Original-Message-ID", "is not a Message-ID like <left@right>; without it nobody can tell which mail was read"}
	}
	if n.FinalRecipient, err = recipient(h, "Final-Recipient", true); err != nil {
		return Notification{}, err
	}
	if n.OriginalRecipient, err = recipient(h, "Original-Recipient", false); err != nil {
		return Notification{}, err
	}
	return n, nil
}

// value returns the value of a field, which is there at most once.
func value(h textproto.Header, name string, required bool) (string, error) {
	values := h.Values(name)
	if len(values) > 1 {
		return "", &Fault{name, "is there more than once; hand in the notification as it came"}
	}
	text := strings.TrimSpace(strings.ReplaceAll(h.Get(name), "\t", " "))
	switch {
	case text == "" && required:
		return "", &Fault{name, "is missing; hand in the notification as it came (RFC 8098 §3.2)"}
	case len(text) > maxValue, !utf8.ValidString(text), strings.ContainsFunc(text, unicode.IsControl):
		return "", &Fault{name, "is too long, or has characters that no mail may have; hand in the notification as it came"}
	}
	return text, nil
}

// checkDisposition returns nil if a disposition (RFC 8098 §3.2.6) says that somebody
// has seen the mail: action-mode/sending-mode; displayed/modifier, modifier.
func checkDisposition(h textproto.Header) error {
	text, err := value(h, "Disposition", true)
	if err != nil {
		return err
	}
	_, rest, ok := strings.Cut(strings.ToLower(text), ";")
	if !ok {
		return &Fault{"Disposition", "is not of the form manual-action/MDN-sent-manually; displayed (RFC 8098 §3.2.6)"}
	}
	kind, modifiers, _ := strings.Cut(rest, "/")
	if strings.TrimSpace(kind) != "displayed" {
		return &Fault{"Disposition", "is not displayed: of a mail that was deleted, dispatched or processed nobody knows whether it was read; leave this notification out"}
	}
	for m := range strings.SplitSeq(modifiers, ",") {
		if m = strings.TrimSpace(m); m == "error" || m == "failure" { // the latter of RFC 2298
			return &Fault{"Disposition", "says that the mail could not be displayed (" + m + "); leave this notification out"}
		}
	}
	return nil
}

// messageID returns a Message-ID in angle brackets, with which some programs do
// without; "" if it is none. It has no white space in it.
func messageID(text string) string {
	if i := strings.IndexByte(text, '<'); i >= 0 {
		text, _, _ = strings.Cut(text[i+1:], ">")
	}
	text = strings.TrimSpace(text)
	left, right, ok := strings.Cut(text, "@")
	if !ok || left == "" || right == "" || strings.ContainsFunc(text, func(r rune) bool { return r == '<' || r == '>' || unicode.IsSpace(r) }) {
		return ""
	}
	return "<" + text + ">"
}

// recipient returns the address in a field of the form type; address (RFC 8098
// §3.2.3). Programs write it in angle brackets, too.
func recipient(h textproto.Header, name string, required bool) (string, error) {
	text, err := value(h, name, required)
	if err != nil || text == "" {
		return "", err
	}
	kind, address, ok := strings.Cut(text, ";")
	address = strings.TrimSpace(address)
	switch kind = strings.ToLower(strings.TrimSpace(kind)); {
	case !ok:
		address = text // the type left out, as by some programs
	case kind == "utf-8":
		address = unescaped(address)
	case kind != "rfc822":
		if !required {
			return "", nil // an address in another network, which the envelope can't have
		}
		return "", &Fault{name, "has no address of e-mail's; it must be of the form rfc822; ada@example.com"}
	}
	address = strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">")
	at := strings.LastIndexByte(address, '@')
	if at <= 0 || at == len(address)-1 || strings.ContainsAny(address, "<>") || strings.ContainsFunc(address, unicode.IsControl) {
		if !required {
			return "", nil
		}
		return "", &Fault{name, "has no address in it; it must be of the form rfc822; ada@example.com"}
	}
	return address[:at] + strings.ToLower(address[at:]), nil
}

// unescaped returns an address of type utf-8, in which characters may be written
// as \x{E4} (RFC 6533 §3). What is none of these stays as it is.
func unescaped(address string) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(address, `\x{`)
		out.WriteString(before)
		digits, after, closed := strings.Cut(rest, "}")
		if !ok {
			return out.String()
		}
		code, err := strconv.ParseUint(digits, 16, 21)
		if !closed || err != nil || !utf8.ValidRune(rune(code)) {
			out.WriteString(`\x{`)
			address = rest
			continue
		}
		out.WriteRune(rune(code))
		address = after
	}
}
