package render

import (
	"context"
	"errors"
	"fmt"

	"postrider/delivery"
)

var (
	errBadOptions  = errors.New("render: Instances and Timeout must not be negative")
	errClosed      = errors.New("templates are closed")
	errInterrupted = errors.New("rendering interrupted")
	errOutOfMemory = errors.New("rendering ran out of memory")
)

func isOutOfMemory(err error) bool { return errors.Is(err, errOutOfMemory) }

// again is how every remedy ends.
const again = "then set delivery.state to RETRY."

func failure(message, explain string) *delivery.Failure {
	return &delivery.Failure{
		Class:   delivery.Permanent,
		Phase:   delivery.PhaseTemplate,
		Message: message,
		Explain: explain,
	}
}

// ErrMissing is the cause of a failure to render a template that is not in the
// content given to [Templates.Replace].
var ErrMissing = errors.New("no such template")

func isMissing(name string) error {
	f := failure(
		fmt.Sprintf("Error: Template '%s' does not exist in the templates collection.", name),
		"The templates collection has no document of this ID, nor one whose field name says so. "+
			"Add it or correct template.name, "+again,
	)
	f.Err = ErrMissing
	return f
}

func isPartial(name string) error {
	return failure(
		fmt.Sprintf("Error: Template '%s' is a partial and can't be sent by itself.", name),
		fmt.Sprintf("Its document has the field partial set, so it can only be included by other templates, as {{> %s}}. "+
			"Name another template, or take partial away, "+again, name),
	)
}

func isRenamed(id, name string) error {
	return failure(
		fmt.Sprintf("Error: Template '%s' can only be used as '%s': its field 'name' takes the place of its ID.", id, name),
		"Use that name in template.name, or take the field name away from the template document, "+again,
	)
}

func notText(name, field string) error {
	return failure(
		fmt.Sprintf("Error: Field '%s' of template '%s' must be a string.", field, name),
		"subject, text, html and amp of a template document are Handlebars source. Correct the document, "+again,
	)
}

func notAttachments(name string) error {
	return failure(
		fmt.Sprintf("Error: Field 'attachments' of template '%s' must be a list of attachments.", name),
		"Each attachment is a map with filename and content, or path. Correct the template document, "+again,
	)
}

func tooManyAttachments(name string) error {
	return failure(
		fmt.Sprintf("Error: Field 'attachments' of template '%s' renders to more than %d attachments or %d values.",
			name, maxAttachments, maxAttachmentValues),
		"Every list, map, member and element of the rendered JSON text counts as a value. A loop in the template makes more of them "+
			"than a mail can hold. Shorten template.data or the template, "+again,
	)
}

func tooMuchData(name string, limit int) error {
	return failure(
		fmt.Sprintf("Error: Field 'template.data' is too large to render template '%s': it takes more than %d bytes as JSON.", name, limit),
		"That is four times the size of template.data and 1 MB: control characters in its keys and strings, which take six bytes each, "+
			"make it so. Take them out or shorten the data, "+again,
	)
}

func badJSON(name string, err error) error {
	f := failure(
		err.Error(),
		fmt.Sprintf("The attachments of template '%s' are no longer valid JSON once the data has been filled in. "+
			"Line breaks, backslashes and, in {{{triple}}} braces, quotes in the data do that; the position counts characters "+
			"of the rendered JSON text. Correct the data or the template, ", name)+again,
	)
	f.Err = err
	return f
}

// badField is the failure of a field that threw.
func badField(name string, out output) error {
	if out.TooLarge {
		return failure(
			fmt.Sprintf("Error: Template '%s' renders to more than %d MB.", name, maxOutputLength>>20),
			"A loop in the template goes over more data than a mail can hold. Shorten the data or the template, "+again,
		)
	}
	if out.Error.isStackOverflow() {
		return failure(
			out.Error.v8(),
			fmt.Sprintf("Field '%s' of template '%s' nests too deeply: most often a partial that includes itself without an end. "+
				"Correct the template, ", out.Failed, name)+again,
		)
	}
	return failure(
		out.Error.v8(),
		fmt.Sprintf("Field '%s' of template '%s', or a partial it includes, could not be rendered with this data. "+
			"Helpers are those that come with Handlebars: if, unless, each, with, lookup and log. Correct the template or template.data, ",
			out.Failed, name)+again,
	)
}

// stopped is the failure of a render that didn't come to an end.
func (t *Templates) stopped(ctx context.Context, name string, err error) error {
	var f *delivery.Failure
	switch {
	case errors.Is(err, errClosed) || ctx.Err() != nil:
		f = failure(
			fmt.Sprintf("Error: Rendering of template '%s' was cut short.", name),
			"The program was stopping or the time for this attempt was over; nothing is wrong with the template. Set delivery.state to RETRY.",
		)
		f.Class = delivery.Transient
	case errors.Is(err, errInterrupted):
		f = failure(
			fmt.Sprintf("Error: Template '%s' takes longer to render than the limit of %v.", name, t.timeout),
			"Loops within loops or partials that include themselves can make a template endless. Correct it or shorten the data, "+again,
		)
	case errors.Is(err, errOutOfMemory):
		f = failure(
			fmt.Sprintf("Error: Template '%s' needs more memory to render than the limit of %d MB.", name, maxMemoryBytes>>20),
			"A loop in the template goes over too much data, or the template is very large. Correct it or shorten the data, "+again,
		)
	default:
		f = failure(
			fmt.Sprintf("Error: Template '%s' could not be rendered.", name),
			"The template engine itself failed; the log has the cause. Set delivery.state to RETRY to try again.",
		)
		f.Class = delivery.Transient
	}
	f.Err = err
	return f
}

func notLoaded(name string, err error) error {
	return &delivery.Failure{
		Class:   delivery.Transient,
		Phase:   delivery.PhaseTemplate,
		Message: fmt.Sprintf("Error: Template '%s' could not be rendered: the templates collection has not been read yet.", name),
		Explain: "The templates collection could not be read in time; the log has the cause. Set delivery.state to RETRY.",
		Err:     err,
	}
}
