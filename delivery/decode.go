package delivery

import "strings"

// Complete reports whether the document asks for anything yet. One that does
// not has neither a message nor a template nor a sendGrid; the extension
// leaves it alone, because some clients write in two steps. As there, null
// counts as a message or sendGrid, and an array and a timestamp do, too: they
// are faults for [Decode] to name. A template counts unless it is null, empty,
// zero or false.
func Complete(f Fields) bool {
	for _, name := range [...]string{"message", "sendGrid"} {
		if v, ok := f[name]; ok && (v == nil || isObject(v) || isList(v)) {
			return true
		}
	}
	return Truthy(f["template"])
}

// Decode reads what a mail document asks for. It accepts and refuses what the
// extension does; its error is a [*Failure] with the extension's own words.
//
// Departures: message.amp and message.messageId, which the extension documents
// and drops, are read if they are strings; headers in which it stumbles over a
// null or that are bytes are refused in a sentence; and receipts, which it does
// not know, is read if it is a map, of which open and read must be booleans.
// Anything else called receipts is somebody's own, and left alone.
func Decode(f Fields) (Document, error) {
	if fault := validate(f); fault != nil {
		return Document{}, fault
	}
	headers, fault := headersOf(f["headers"])
	if fault != nil {
		return Document{}, fault
	}
	doc := value{v: f}
	d := Document{
		To:      addresses(f["to"]),
		Cc:      addresses(f["cc"]),
		Bcc:     addresses(f["bcc"]),
		ToUIDs:  texts(f["toUids"]),
		CcUIDs:  texts(f["ccUids"]),
		BccUIDs: texts(f["bccUids"]),
		From:    doc.text("from"),
		ReplyTo: doc.text("replyTo"),
		Headers: headers,
	}
	if t := doc.at("template"); t.present {
		d.Template = &Template{Name: t.text("name"), Data: fieldsOf(t.at("data").v)}
	}
	if s := doc.at("sendGrid"); s.present {
		d.SendGrid = &SendGrid{TemplateID: s.text("templateId")}
	}
	if r, ok := f["receipts"].(Fields); ok {
		d.Receipts.Open, _ = r["open"].(bool)
		d.Receipts.Read, _ = r["read"].(bool)
	}
	d.Message = messageOf(doc.at("message"), d.Template != nil)
	return d, nil
}

// DecodeAttachments reads the attachments a template rendered, as parsed from
// its JSON; path is what its faults call the list, as in "attachments". As by
// the extension, unknown fields are dropped, and so are elements that have no
// other. The error is a [*Failure]: a sentence that names each wrong field,
// where the extension shows a dump in JSON.
func DecodeAttachments(path string, list []any) ([]Attachment, error) {
	var c checker
	c.list(value{v: list, path: path, present: true}, c.attachment)
	if c.faulty() {
		f := c.failure("template attachments")
		f.Phase = PhaseTemplate
		f.Explain = strings.Replace(f.Explain, "The document cannot be read",
			"What the template made of its attachments cannot be read", 1)
		f.Explain = strings.Replace(f.Explain, "Correct it", "Correct the template or its data", 1)
		return nil, f
	}
	return knownAttachments(list), nil
}

// text returns the member of a map, or "" if it is not a string.
func (o value) text(name string) string {
	s, _ := o.at(name).v.(string)
	return s
}

func addresses(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	return texts(v)
}

// texts returns the elements of a list of strings, and nil for anything else.
func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		return nil
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// messageOf reads a checked message. Beside a template its attachments go the
// way of the template's own, as by the extension.
func messageOf(o value, templated bool) Message {
	m := Message{
		Subject:   o.text("subject"),
		Text:      o.text("text"),
		HTML:      o.text("html"),
		AMP:       o.text("amp"),
		MessageID: o.text("messageId"),
	}
	list, _ := o.at("attachments").v.([]any)
	if templated {
		m.Attachments = knownAttachments(list)
		return m
	}
	for _, v := range list {
		m.Attachments = append(m.Attachments, attachmentOf(v))
	}
	return m
}

func knownAttachments(list []any) []Attachment {
	var out []Attachment
	for _, v := range list {
		known := false
		for _, name := range attachmentFields() {
			known = known || value{v: v}.at(name).present
		}
		if known {
			a := attachmentOf(v)
			a.TransferEncoding = ""
			out = append(out, a)
		}
	}
	return out
}

func attachmentOf(v any) Attachment {
	o := value{v: v}
	return Attachment{
		Filename:         o.text("filename"),
		Content:          o.at("content").v,
		Encoding:         o.text("encoding"),
		Path:             o.text("path"),
		Href:             o.text("href"),
		HTTPHeaders:      textHeaders(o.at("httpHeaders").v),
		Raw:              o.text("raw"),
		ContentType:      o.text("contentType"),
		Disposition:      o.text("contentDisposition"),
		CID:              o.text("cid"),
		TransferEncoding: o.text("contentTransferEncoding"),
		Headers:          textHeaders(o.at("headers").v),
	}
}

// textHeaders reads headers whose values are known to be strings.
func textHeaders(v any) []Header {
	var out []Header
	for _, name := range keys(v) {
		out = append(out, Header{Name: name, Value: value{v: v}.text(name)})
	}
	return out
}

// fieldsOf returns a map, or what of a Firestore object a template can see.
func fieldsOf(v any) Fields {
	if f, ok := v.(Fields); ok || v == nil {
		return f
	}
	f := Fields{}
	for _, name := range keys(v) {
		f[name], _ = member(v, name)
	}
	return f
}
