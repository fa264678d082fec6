package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
)

// node is a value in a request's body, and where it is.
type node struct {
	value any    // as encoding/json decodes it; nil if it is null or not there
	path  string // as in "recipients.to[0]"; "" for the body itself
	name  string // by which an object has it
}

// body reads what a request asks for, and keeps the first fault. Names are
// compared exactly: Azure's are. What it does not know is left alone.
type body struct{ fault *problem }

// object returns a request's body.
func (b *body) object(text []byte) node {
	d := json.NewDecoder(bytes.NewReader(text))
	var v any
	err := d.Decode(&v)
	if _, more := d.Token(); err == nil && !errors.Is(more, io.EOF) {
		err = errors.New("something follows the object")
	}
	if _, ok := v.(map[string]any); err != nil || !ok {
		b.wrong("", "the body must be one JSON object")
	}
	return node{value: v}
}

// wrong notes a fault of the field at a path.
func (b *body) wrong(path, message string) {
	if b.fault == nil {
		b.fault = bad(path, message)
	}
}

// at returns a member of an object, which may be missing.
func (n node) at(name string) node {
	m, _ := n.value.(map[string]any)
	path := name
	if n.path != "" {
		path = n.path + "." + name
	}
	return node{m[name], path, name}
}

// text returns a string; "" if it is missing.
func (b *body) text(n node) string {
	s, ok := n.value.(string)
	if !ok && n.value != nil {
		b.wrong(n.path, n.path+" must be a string, and is "+kind(n.value))
	}
	return s
}

// required returns a string that must be there.
func (b *body) required(n node) string {
	if n.value == nil {
		b.wrong(n.path, n.path+" is required: a string")
	}
	return b.text(n)
}

// filled returns a string that must not be empty.
func (b *body) filled(n node) string {
	s := b.required(n)
	if s == "" {
		b.wrong(n.path, n.path+" must not be empty")
	}
	return s
}

// members returns an object's members by name, in order; none if it is missing.
func (b *body) members(n node) []node {
	m, ok := n.value.(map[string]any)
	if !ok && n.value != nil {
		b.wrong(n.path, n.path+" must be an object, and is "+kind(n.value))
	}
	var all []node
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, n.at(name))
	}
	return all
}

// elements goes through the objects that an array has, none if it is missing, as
// far as the first fault: nobody reads what follows it, and there may be much of it.
func (b *body) elements(n node) iter.Seq[node] {
	list, ok := n.value.([]any)
	if !ok && n.value != nil {
		b.wrong(n.path, n.path+" must be an array, and is "+kind(n.value))
	}
	return func(yield func(node) bool) {
		for i, v := range list {
			e := node{value: v, path: n.path + "[" + strconv.Itoa(i) + "]"}
			if _, ok := v.(map[string]any); !ok {
				b.wrong(e.path, e.path+" must be an object, and is "+kind(v))
			}
			if b.fault != nil || !yield(e) {
				return
			}
		}
	}
}

// kind names what a value is.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case float64:
		return "a number"
	case []any:
		return "an array"
	}
	return "an object"
}
