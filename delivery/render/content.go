package render

import (
	"fmt"
	"slices"
	"strconv"

	"postrider/delivery"
)

// The fields of a template document that are rendered, by their own names.
const (
	fieldAttachments = "attachments"
	fieldSubject     = "subject"
	fieldHTML        = "html"
	fieldText        = "text"
	fieldAMP         = "amp"
)

// renderedFields lists them in the order in which the extension renders them:
// of several faulty fields the first is the one whose error is told.
func renderedFields() []string {
	return []string{fieldAttachments, fieldSubject, fieldHTML, fieldText, fieldAMP}
}

// content is the templates collection at one moment. It is never changed.
type content struct {
	templates map[string]*template
	partials  map[string]map[string]string // field → name → source, encoded
	renamed   map[string]string            // document ID → the name that hides it

	partialNames    map[string]bool
	partialsVersion uint64
	lastID          uint64 // the highest template ID given so far
}

// template is a document that mails can ask for.
type template struct {
	id     uint64            // of this very source: a changed document gets another
	name   string            // what mails ask for
	fields map[string]string // field → source, encoded; only those that are there
	wrong  string            // the first field that is no string; empty if there is none
}

// replacedBy returns the content that follows c, which may be nil. Documents
// are taken in the order of their IDs, and where two have one name the last
// one counts, as in the extension.
func (c *content) replacedBy(docs map[string]delivery.Fields) *content {
	if c == nil {
		c = &content{}
	}
	next := &content{
		templates:       make(map[string]*template, len(docs)),
		partials:        make(map[string]map[string]string),
		renamed:         make(map[string]string),
		partialNames:    make(map[string]bool),
		partialsVersion: c.partialsVersion,
		lastID:          c.lastID,
	}
	ids := make([]string, 0, len(docs))
	for id := range docs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		doc := docs[id]
		name := templateName(id, doc)
		if name != id {
			next.renamed[id] = name
		}
		if delivery.Truthy(doc["partial"]) {
			next.addPartial(name, doc)
			continue
		}
		next.templates[name] = newTemplate(name, doc)
	}
	next.keep(c)
	return next
}

// keep gives templates that did not change the ID they had, and all others a
// new one.
func (c *content) keep(before *content) {
	for name, t := range c.templates {
		if old := before.templates[name]; old != nil && old.same(t) {
			c.templates[name] = old
			continue
		}
		c.lastID++
		t.id = c.lastID
	}
	if !samePartials(before.partials, c.partials) {
		c.partialsVersion++
	}
}

// template returns the template that mails ask for by name.
func (c *content) template(name string) (*template, error) {
	t, ok := c.templates[name]
	switch {
	case ok && t.wrong != "":
		return nil, notText(name, t.wrong)
	case ok:
		return t, nil
	case c.partialNames[name]:
		return nil, isPartial(name)
	case c.renamed[name] != "":
		return nil, isRenamed(name, c.renamed[name])
	}
	return nil, isMissing(name)
}

// addPartial registers doc's fields. A partial has no attachments: the
// extension drops them with a line in its log.
func (c *content) addPartial(name string, doc delivery.Fields) {
	c.partialNames[name] = true
	for _, field := range renderedFields() {
		if field == fieldAttachments || !delivery.Truthy(doc[field]) {
			continue
		}
		if c.partials[field] == nil {
			c.partials[field] = make(map[string]string)
		}
		c.partials[field][name] = encode(doc[field])
	}
}

func newTemplate(name string, doc delivery.Fields) *template {
	t := &template{name: name, fields: make(map[string]string)}
	for _, field := range renderedFields() {
		value := doc[field]
		if !delivery.Truthy(value) {
			continue
		}
		if field == fieldAttachments {
			t.fields[field] = encode(attachmentOrder(value))
			continue
		}
		if _, ok := value.(string); !ok && t.wrong == "" {
			t.wrong = field
		}
		t.fields[field] = encode(value)
	}
	return t
}

// same reports whether both would render alike.
func (t *template) same(other *template) bool {
	if t.name != other.name || t.wrong != other.wrong || len(t.fields) != len(other.fields) {
		return false
	}
	for field, source := range t.fields {
		if s, ok := other.fields[field]; !ok || s != source {
			return false
		}
	}
	return true
}

func samePartials(a, b map[string]map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for field, names := range a {
		if len(names) != len(b[field]) {
			return false
		}
		for name, source := range names {
			if s, ok := b[field][name]; !ok || s != source {
				return false
			}
		}
	}
	return true
}

// templateName returns what a document is called: its field name if it has
// one, spelt as JavaScript spells it as a key, else its ID.
func templateName(id string, doc delivery.Fields) string {
	name, ok := doc["name"]
	if !ok {
		return id
	}
	switch v := name.(type) {
	case nil:
		return "null"
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return fmt.Sprint(v)
	}
	return id
}
