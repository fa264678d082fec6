package query

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// CompareNames is the order of document names and references, full or from the
// same point on: by segment, a name before those below it. IDs of the form
// __id7__ are numbers and sort as such before all others, which sort by their
// UTF-8 bytes.
func CompareNames(a, b string) int {
	i, n := 0, min(len(a), len(b))
	for i+8 <= n && a[i:i+8] == b[i:i+8] { // names begin alike, and this is one comparison
		i += 8
	}
	for i < n && a[i] == b[i] {
		i++
	}
	if i == len(a) && i == len(b) {
		return 0
	}
	start := strings.LastIndexByte(a[:i], '/') + 1
	if c := compareSegments(firstSegment(a[start:]), firstSegment(b[start:])); c != 0 {
		return c
	}
	return cmp.Compare(len(a), len(b)) // one is the beginning of the other
}

func firstSegment(path string) string {
	s, _, _ := strings.Cut(path, "/")
	return s
}

func compareSegments(a, b string) int {
	i, aNumber := number(a)
	j, bNumber := number(b)
	switch {
	case aNumber && bNumber:
		return cmp.Compare(i, j)
	case aNumber:
		return -1
	case bNumber:
		return 1
	default:
		return strings.Compare(a, b)
	}
}

// number returns what a numeric ID stands for. One with a leading zero or a
// plus sign is no numeric ID, or two names could be equal.
func number(segment string) (int64, bool) {
	digits, ok := strings.CutPrefix(segment, "__id")
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, "__"); !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == digits
}

// resource is a name's parts: "projects/P/databases/D", and the segments below
// the database's documents, none for their root.
type resource struct {
	database string
	path     []string
}

// parseResource takes the name of a document or of the root of all documents.
func parseResource(name string) (resource, error) {
	s := strings.Split(name, "/")
	switch {
	case len(s) < 5 || s[0] != "projects" || s[2] != "databases" || s[4] != "documents":
		return resource{}, fmt.Errorf("resource name %q does not begin with projects/{project_id}/databases/{database_id}/documents", name)
	case len(s)%2 == 0:
		return resource{}, fmt.Errorf("resource name %q is not that of a document", name)
	}
	for _, segment := range s {
		if segment == "" {
			return resource{}, fmt.Errorf("resource name %q has an empty segment", name)
		}
	}
	return resource{database: strings.Join(s[:4], "/"), path: s[5:]}, nil
}
