package firestored

import (
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Limits of names (https://firebase.google.com/docs/firestore/quotas).
const (
	maxID    = 1500 // bytes
	maxDepth = 100  // collections in a path
)

// invalid returns an INVALID_ARGUMENT error. Its words are the service's where
// they are known, as all words in this package.
func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// namePrefix splits "projects/P/databases/D" off a resource name; rest begins
// with a slash or is empty. what says in errors what kind of name it is.
func namePrefix(what, name string) (database, rest string, err error) {
	pos := 0
	for i, word := range []string{"projects", "", "databases", ""} {
		segment, _, slash := strings.Cut(name[pos:], "/")
		switch {
		case word != "" && segment != word:
			return "", "", invalid("%s %q lacks %q at index %d.", what, name, word, pos)
		case segment == "" && pos == len(name):
			return "", "", invalid(`%s %q has invalid trailing "/".`, what, name)
		case segment == "":
			return "", "", invalid("%s %q lacks an id at index %d.", what, name, pos)
		case i < 3 && !slash:
			return "", "", invalid(`%s %q lacks "/" at index %d.`, what, name, pos+len(segment))
		}
		if pos += len(segment); i < 3 {
			pos++
		}
	}
	return name[:pos], name[pos:], nil
}

// databaseName checks the name of a database.
func databaseName(name string) error {
	database, rest, err := namePrefix("Database name", name)
	switch {
	case err != nil:
		return err
	case rest == "/":
		return invalid(`Database name %q has invalid trailing "/".`, name)
	case rest != "":
		return invalid("Database name %q has extra characters at index %d.", name, len(database))
	}
	return nil
}

// underRoot splits a name into its database and the path below
// "projects/P/databases/D/documents", empty for that itself.
func underRoot(what, name string) (database, path string, err error) {
	database, rest, err := namePrefix(what, name)
	if err != nil {
		return "", "", err
	}
	below, ok := strings.CutPrefix(rest, "/documents")
	switch {
	case !ok || below != "" && below[0] != '/':
		return "", "", invalid(`%s %q lacks "documents" at index %d.`, what, name, min(len(database)+1, len(name)))
	case below == "":
		return database, "", nil
	}
	return database, below[1:], nil
}

// documentName splits the name of a document, as in
// "projects/P/databases/D/documents/mail/abc".
func documentName(what, name string) (database, path string, err error) {
	database, path, err = underRoot(what, name)
	if err != nil {
		return "", "", err
	}
	if path == "" && !strings.HasSuffix(name, "/") {
		return "", "", invalid(`%s %q is invalid: Omit "/documents" when referencing a database (except as the parent of a document).`, what, name)
	}
	return database, path, checkPath(what, name, path)
}

// parentName splits the name of what collections can lie below: a document, or
// "projects/P/databases/D/documents", whose path is empty.
func parentName(name string) (database, path string, err error) {
	const what = "Document parent name"
	database, path, err = underRoot(what, name)
	if err != nil || path == "" && !strings.HasSuffix(name, "/") {
		return database, "", err
	}
	return database, path, checkPath(what, name, path)
}

// checkPath checks the IDs of a document's path, which is the end of name.
func checkPath(what, name, path string) error {
	start := len(name) - len(path)
	for i, pos := 0, start; ; i++ {
		segment, _, slash := strings.Cut(name[pos:], "/")
		end := pos + len(segment)
		switch {
		case segment == "" && pos == len(name):
			return invalid(`%s %q has invalid trailing "/".`, what, name)
		case segment == "" && i%2 == 0:
			return invalid("%s %q lacks a collection id at index %d.", what, name, pos)
		case segment == "":
			return invalid("%s %q lacks a resource id at index %d.", what, name, pos)
		case segment == "." || segment == "..":
			return invalid("%s %q contains a resource id %q at index %d.", what, name, segment, pos)
		case i >= 2*maxDepth:
			return invalid("%s %q has more than %d collections.", what, name, maxDepth)
		}
		if err := checkID(segment, i%2 == 0); err != nil {
			return err
		}
		if !slash {
			if i%2 == 0 {
				return invalid(`%s %q lacks "/" at index %d.`, what, name, end)
			}
			return nil
		}
		pos = end + 1
	}
}

// checkID checks one ID. Documents that were imported from Datastore have
// numeric IDs, written as "__id7__": those are not reserved.
func checkID(id string, collection bool) error {
	kind := "Resource id"
	if collection {
		kind = "Collection id"
	}
	switch {
	case len(id) > maxID:
		return invalid("The key path element name is longer than %d bytes.", maxID)
	case strings.Contains(id, "/"):
		return invalid(`%s %q is invalid because it contains "/".`, kind, id)
	case reserved(id) && (collection || !numericID(id)):
		return invalid("%s %q is invalid because it is reserved.", kind, id)
	}
	return nil
}

// reserved reports whether a name of a document, collection or field belongs to
// the service: whether it matches __.*__.
func reserved(name string) bool {
	return len(name) > 4 && strings.HasPrefix(name, "__") && strings.HasSuffix(name, "__")
}

func numericID(id string) bool {
	digits := strings.TrimSuffix(strings.TrimPrefix(id, "__id"), "__")
	n, err := strconv.ParseInt(digits, 10, 64)
	return err == nil && id == "__id"+strconv.FormatInt(n, 10)+"__"
}
