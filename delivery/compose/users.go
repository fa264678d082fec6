package compose

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"postrider/delivery"
)

// recipients are a document's address lists, UIDs looked up, read into
// mailboxes.
type recipients struct {
	to, cc, bcc []mailbox
}

// recipients looks up the UIDs and reads all addresses. As by the extension,
// a UID without an address is left out, and whoever remains is judged later.
func (c *Composer) recipients(ctx context.Context, doc delivery.Document) (recipients, error) {
	emails, err := c.emails(ctx, doc)
	if err != nil {
		return recipients{}, err
	}
	var r recipients
	var entries int
	for _, l := range []struct {
		field string
		texts []string
		uids  []string
		into  *[]mailbox
	}{
		{"to", doc.To, doc.ToUIDs, &r.to},
		{"cc", doc.Cc, doc.CcUIDs, &r.cc},
		{"bcc", doc.Bcc, doc.BccUIDs, &r.bcc},
	} {
		for _, text := range l.texts {
			if err := readAddresses(l.into, l.field, text); err != nil {
				return recipients{}, err
			}
			entries++
		}
		for _, uid := range l.uids {
			email, ok := emails[uid]
			if !ok || !delivery.Truthy(email) {
				continue
			}
			if err := readEmail(l.into, l.field+"Uids", email); err != nil {
				return recipients{}, err
			}
			entries++
		}
	}
	if c.options.TemplateOnly {
		r = recipients{nameless(r.to), nameless(r.cc), nameless(r.bcc)}
	}
	if entries == 0 {
		return recipients{}, refuse(delivery.PhaseUsers, "Failed to deliver email. Expected at least 1 recipient.",
			"No user named by toUids, ccUids or bccUids has an email in the users collection, and the document names no other recipient.")
	}
	return r, nil
}

// emails looks up all UIDs of a document at once.
func (c *Composer) emails(ctx context.Context, doc delivery.Document) (map[string]any, error) {
	if doc.ToUIDs == nil && doc.CcUIDs == nil && doc.BccUIDs == nil {
		return nil, nil
	}
	if c.users == nil {
		return nil, refuse(delivery.PhaseUsers, "Must specify a users collection to send using uids.",
			"The document has toUids, ccUids or bccUids. Set USERS_COLLECTION, or name the recipients in to, cc and bcc.")
	}
	uids, err := lookups(doc.ToUIDs, doc.CcUIDs, doc.BccUIDs)
	if err != nil || len(uids) == 0 {
		return nil, err
	}
	if len(uids) > c.options.MaxRecipients {
		return nil, c.tooMany(len(uids))
	}
	emails, err := c.users.Emails(ctx, uids)
	if err != nil {
		return nil, usersFailure(err)
	}
	return emails, nil
}

// lookups returns the UIDs to look up, each once, and refuses what cannot be
// a document's ID in the words of Firestore's library.
func lookups(lists ...[]string) ([]string, error) {
	var uids []string
	seen := make(map[string]bool)
	for _, list := range lists {
		for _, uid := range list {
			if seen[uid] {
				continue
			}
			seen[uid] = true
			fault, single := pathFault(uid)
			if fault != "" {
				return nil, refuse(delivery.PhaseUsers, fault,
					fmt.Sprintf("The UID %q cannot be the ID of a document in the users collection. Correct toUids, ccUids or bccUids.", uid))
			}
			if single {
				uids = append(uids, uid)
			}
		}
	}
	return uids, nil
}

// pathFault says what is wrong with a UID as a path below the users
// collection. A path of several segments is not wrong, but the extension never
// finds the address it looks up there: single is false for it.
func pathFault(uid string) (fault string, single bool) {
	if len(uid) >= 4 && strings.HasPrefix(uid, "__") && strings.HasSuffix(uid, "__") {
		return fmt.Sprintf("3 INVALID_ARGUMENT: Resource id %q is invalid because it is reserved.", uid), false
	}
	if !strings.Contains(uid, "/") {
		return "", true
	}
	if strings.Contains(uid, "//") {
		return `Value for argument "documentPath" is not a valid resource path. Paths must not contain //.`, false
	}
	if segments := strings.Count(strings.Trim(uid, "/"), "/") + 1; segments%2 == 0 {
		return fmt.Sprintf(`Value for argument "documentPath" must point to a document, but was "%s". Your path does not contain an even number of components.`, uid), false
	}
	return "", false
}

func usersFailure(err error) error {
	var f *delivery.Failure
	if errors.As(err, &f) {
		return f
	}
	return &delivery.Failure{
		Class:   delivery.Transient,
		Phase:   delivery.PhaseUsers,
		Message: "Error: " + err.Error(),
		Explain: "The users collection could not be read. Check that Firestore can be reached and that the service may read USERS_COLLECTION, then set delivery.state to RETRY.",
		Err:     err,
	}
}

// readEmail reads an email field of any type as the extension's mail library
// does: a list is a list of addresses, a map may have name and address, and
// other types have no address in them.
func readEmail(into *[]mailbox, field string, email any) error {
	switch v := email.(type) {
	case string:
		return readAddresses(into, field, v)
	case []byte:
		return readAddresses(into, field, string(v))
	case []any:
		texts := make([]string, 0, len(v))
		for _, e := range v {
			if s, ok := e.(string); ok {
				texts = append(texts, s)
			}
		}
		return readAddresses(into, field, strings.Join(texts, ","))
	case delivery.Fields:
		address, _ := v["address"].(string)
		name, _ := v["name"].(string)
		if hasControl(address) || hasControl(name) {
			return controlFailure(field)
		}
		if a := normalizeAddress(address); a != "" {
			*into = append(*into, mailbox{name: name, address: a})
		}
	}
	return nil
}
