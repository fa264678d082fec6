package delivery

import "strconv"

// The checks below find the faults the extension finds, in its order and in
// its words: three parts of the document alone, then the document as a whole;
// the first of the four that has a fault ends the search.

const (
	noRecipient = "Email must have at least one recipient"
	noContent   = "Email configuration must include either a 'message', 'template', or 'sendGrid' object"
	noBody      = "At least one of 'text' or 'html' must be provided in message"
	noTemplate  = "Field 'templateId' is required when 'dynamicTemplateData' is provided"
)

// validate returns what keeps f from being read, or nil.
func validate(f Fields) *Failure {
	doc := value{v: f, present: true}
	template := doc.at("template")
	message := doc.at("message")
	if v := doc.at("sendGrid"); v.present {
		var c checker
		c.sendGrid(v)
		if c.faulty() {
			return c.failure("sendGrid configuration")
		}
	}
	if template.present {
		var c checker
		c.template(template)
		if c.faulty() {
			return c.failure("template configuration")
		}
	}
	if Truthy(message.v) && hasKeys(message.v) {
		var c checker
		c.message(message, template.present)
		if c.faulty() {
			return c.failure("message configuration")
		}
	}
	var c checker
	c.document(doc)
	if c.faulty() {
		return c.failure("email configuration")
	}
	return nil
}

// value is a value in a document, and where it is.
type value struct {
	v       any
	path    string // "message.attachments.0"; empty for the document itself
	present bool   // absent is not the same as null
}

// at returns the member of a map, or of a Firestore object as the extension's
// language shows it.
func (o value) at(name string) value {
	v, ok := member(o.v, name)
	return value{v: v, path: o.sub(name), present: ok}
}

func (o value) sub(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

func (c *checker) text(o value) {
	if _, ok := o.v.(string); !ok {
		c.wrong(o, "must be a string", "a string")
	}
}

func (c *checker) optionalText(o value) {
	if o.present {
		c.text(o)
	}
}

func (c *checker) nullableText(o value) {
	if o.present && o.v != nil {
		c.text(o)
	}
}

func (c *checker) filledText(o value) {
	c.text(o)
	if o.v == "" {
		c.rule("Field '"+o.path+"' cannot be empty", o.path+" is an empty string")
	}
}

// mapping reports whether o is a map, or anything that is one to the extension.
func (c *checker) mapping(o value) bool {
	if !isObject(o.v) {
		c.wrong(o, "must be a map", "a map")
		return false
	}
	return true
}

func (c *checker) list(o value, element func(value)) {
	list, ok := o.v.([]any)
	if !ok {
		c.wrong(o, "must be an array", "an array")
		return
	}
	for i, v := range list {
		if c.full() {
			c.unchecked += len(list) - i
			return
		}
		element(value{v: v, path: o.sub(strconv.Itoa(i)), present: true})
	}
}

func (c *checker) optionalList(o value, element func(value)) {
	if o.present {
		c.list(o, element)
	}
}

func (c *checker) textMap(o value) {
	if _, bytes := o.v.([]byte); bytes {
		c.wrong(o, "must be a map", "a map of strings")
		return
	}
	if !c.mapping(o) {
		return
	}
	names := keys(o.v)
	for i, name := range names {
		if c.full() {
			c.unchecked += len(names) - i
			return
		}
		v, _ := member(o.v, name)
		c.text(value{v: v, path: o.sub(name), present: true})
	}
}

func (c *checker) optionalMapping(o value) {
	if o.present {
		c.mapping(o)
	}
}

func (c *checker) sendGrid(o value) {
	if !c.mapping(o) {
		return
	}
	data := o.at("dynamicTemplateData")
	id := o.at("templateId")
	c.optionalText(id)
	c.optionalMapping(data)
	c.optionalMapping(o.at("mailSettings"))
	if args := o.at("customArgs"); args.present {
		c.textMap(args)
	}
	c.optionalText(o.at("ipPoolName"))
	if !c.unreadable && data.present && !Truthy(id.v) {
		c.rule(noTemplate, o.sub("dynamicTemplateData")+" is data for a template, and "+o.sub("templateId")+" names none")
	}
}

func (c *checker) template(o value) {
	if !c.mapping(o) {
		return
	}
	c.filledText(o.at("name"))
	c.optionalMapping(o.at("data"))
}

// message checks the message field. With a template its parts may be missing.
func (c *checker) message(o value, templated bool) {
	if !c.mapping(o) {
		return
	}
	subject, text, html := o.at("subject"), o.at("text"), o.at("html")
	if templated {
		c.optionalText(subject)
	} else {
		c.text(subject)
	}
	c.nullableText(text)
	c.nullableText(html)
	c.optionalList(o.at("attachments"), c.attachment)
	if !templated && !c.unreadable && !Truthy(text.v) && !Truthy(html.v) {
		c.rule(noBody, o.sub("text")+" and "+o.sub("html")+" are both missing or empty")
	}
}

// attachment checks one element of an attachments list. Its content may be
// anything: only composing it tells.
func (c *checker) attachment(o value) {
	if !c.mapping(o) {
		return
	}
	for _, name := range attachmentFields() {
		field := o.at(name)
		switch name {
		case "content":
		case "headers", "httpHeaders":
			if field.present && field.v != nil {
				c.textMap(field)
			}
		default:
			c.nullableText(field)
		}
	}
}

// attachmentFields returns the fields of an attachment the extension knows, in the
// order in which it checks them.
func attachmentFields() []string {
	return []string{
		"filename", "content", "path", "href", "httpHeaders", "contentType",
		"contentDisposition", "cid", "encoding", "headers", "raw",
	}
}

// document checks the document as a whole. Its template, its sendGrid and a
// message with anything in it have been checked before.
func (c *checker) document(doc value) {
	addressed := false
	for _, name := range [...]string{"to", "cc", "bcc"} {
		o := doc.at(name)
		c.recipients(o)
		addressed = addressed || filled(o.v)
	}
	for _, name := range [...]string{"toUids", "ccUids", "bccUids"} {
		o := doc.at(name)
		c.optionalList(o, c.filledText)
		addressed = addressed || filled(o.v)
	}
	c.optionalText(doc.at("from"))
	c.optionalText(doc.at("replyTo"))
	c.optionalMapping(doc.at("message"))
	c.optionalList(doc.at("categories"), c.text)
	c.receipts(doc.at("receipts"))
	if c.unreadable {
		return
	}
	if !addressed {
		c.rule(noRecipient, "to, cc, bcc, toUids, ccUids and bccUids are all missing or empty")
	}
	if !doc.at("message").present && !doc.at("template").present && !doc.at("sendGrid").present {
		c.rule(noContent, "there is no message, template or sendGrid to say what to send")
	}
}

// receipts checks what asks for receipts. A mail that was to tell of its reading
// and doesn't, for a mistake in a word, would be taken for one that nobody reads.
func (c *checker) receipts(o value) {
	if _, ok := o.v.(Fields); !ok {
		return
	}
	for _, name := range [...]string{"open", "read"} {
		field := o.at(name)
		if _, ok := field.v.(bool); !ok && field.v != nil {
			c.wrong(field, "must be a boolean", "true or false")
		}
	}
}

func (c *checker) recipients(o value) {
	if _, ok := o.v.(string); ok || !o.present {
		return
	}
	is := "is " + kind(o.v)
	if list, ok := o.v.([]any); ok {
		if allText(list) {
			return
		}
		is = "has elements that are not strings"
	}
	c.unreadable = true
	c.rule("Field '"+o.path+"' must be either a string or an array of strings",
		o.path+" "+is+"; it must be one or more addresses in a string, or an array of such strings")
}

func allText(list []any) bool {
	for _, v := range list {
		if _, ok := v.(string); !ok {
			return false
		}
	}
	return true
}

// filled reports whether a string or list has anything in it.
func filled(v any) bool {
	list, ok := v.([]any)
	return ok && len(list) > 0 || !ok && Truthy(v)
}
