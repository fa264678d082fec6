// Package render turns the documents of the templates collection, and the data
// a mail document brings, into subject, HTML, text, AMP and attachments.
//
// Templates are written in Handlebars, and Handlebars is what renders them:
// handlebars.js itself (handlebars/handlebars.js, the npm package's own file)
// runs in QuickJS compiled to Go. Nothing of it can reach files, the network or
// the process: the engine has no such objects.
//
// How a template document is read is the Trigger Email extension's way. Each of
// subject, html, text, amp and attachments has a Handlebars environment of its
// own, with the partials that have that field. Subject and text are not
// escaped; html, amp and attachments are. Attachments are the field's JSON text
// as one strict template, parsed again after rendering. A field that is falsy
// in JavaScript is not there. A field called name hides the document's ID.
//
// Three departures from the extension, each because its way loses mail: a
// deleted document is gone, a document that cannot be compiled harms only the
// mails that ask for it, and rendering is bounded in time, memory, depth and
// size.
//
// Engines share nothing that a render would wait for: each mail that asks for a
// template gets an engine of its own for as long as it takes, and as many render at
// once as there are engines (Options.Instances). An engine compiles a template when
// it first renders it, and keeps it until the template's document changes.
//
// Reading order: templates.go (the type and its methods), content.go (what a
// Replace brings), pool.go and engine.go (the engines and their limits),
// glue.js (the part that runs inside), encode.go (Firestore's values on their
// way in), jsonparse.go and v8.go (error texts as Node words them).
package render
