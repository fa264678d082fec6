package compose

import (
	"context"
	"errors"
	"fmt"

	"postrider/delivery"
)

// content is what goes into the message, template and document put together.
type content struct {
	delivery.Message

	// where names the attachments' list in errors, as in "message.attachments".
	where string
}

// content puts together what the template made and what the document brings:
// the template's fields win, empty ones too; what it has not got the document
// fills in. A template's list of attachments replaces the document's, even if
// it is empty.
func (c *Composer) content(ctx context.Context, doc delivery.Document) (content, error) {
	m := content{Message: doc.Message, where: "message.attachments"}
	if doc.Template == nil || c.templates == nil {
		return m, unsendable(doc, m)
	}
	r, err := c.templates.Render(ctx, doc.Template.Name, doc.Template.Data)
	if err != nil {
		return content{}, templateFailure(err)
	}
	for _, f := range []struct {
		field *string
		value *string
	}{
		{&m.Subject, r.Subject},
		{&m.Text, r.Text},
		{&m.HTML, r.HTML},
		{&m.AMP, r.AMP},
	} {
		if f.value != nil {
			*f.field = *f.value
		}
	}
	if r.Attachments != nil {
		m.where = "attachments of template " + doc.Template.Name
		m.Attachments, err = delivery.DecodeAttachments("attachments", r.Attachments)
		if err != nil {
			return content{}, templateFailure(err)
		}
	}
	return m, nil
}

// unsendable refuses a document whose whole content is elsewhere than in itself
// and can't be had. A departure: the extension sends an empty mail instead.
func unsendable(doc delivery.Document, m content) error {
	if m.Subject != "" || m.Text != "" || m.HTML != "" || m.AMP != "" || len(m.Attachments) > 0 {
		return nil
	}
	switch {
	case doc.Template != nil:
		return refuse(delivery.PhaseTemplate, fmt.Sprintf("Template '%s' can't be rendered: TEMPLATES_COLLECTION is not set.", doc.Template.Name),
			"The document brings nothing to send but a template's name. Set TEMPLATES_COLLECTION, then set delivery.state to RETRY.")
	case doc.SendGrid != nil:
		return refuse(delivery.PhaseCompose, "Field 'sendGrid' brings nothing that can be sent over SMTP.",
			"SendGrid's dynamic templates are rendered by its own API, which is not used. Give the document a message or a template, then set delivery.state to RETRY.")
	}
	return nil
}

func templateFailure(err error) error {
	var f *delivery.Failure
	if errors.As(err, &f) {
		return f
	}
	return &delivery.Failure{
		Class:   delivery.Permanent,
		Phase:   delivery.PhaseTemplate,
		Message: "Error: " + err.Error(),
		Explain: "The template could not be rendered. Correct the template or the data the document gives it.",
		Err:     err,
	}
}
