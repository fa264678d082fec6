package render

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"

	"postrider/delivery"
)

const (
	maxJSONDepth = 1000 // of lists and maps in each other

	// The rendered text is bounded, too, but a value takes up to fifty times the
	// memory of its text.
	maxAttachments      = 1000
	maxAttachmentValues = 100_000 // lists, maps and all that is in them
)

var errTooManyValues = errors.New("too many values in JSON")

// parseAttachments reads the rendered attachments field as JSON.parse would.
func parseAttachments(name, text string) ([]any, error) {
	value, err := parseJSON(text)
	if errors.Is(err, errTooManyValues) {
		return nil, tooManyAttachments(name)
	}
	if err != nil {
		return nil, badJSON(name, err)
	}
	if list, ok := value.([]any); ok {
		return list, nil
	}
	if delivery.Truthy(value) {
		return nil, notAttachments(name)
	}
	return nil, nil // as if the template had none
}

// jsonError is a SyntaxError in the words of V8's JSON.parse, as of Node 20.
type jsonError string

func (e jsonError) Error() string { return string(e) }

// parseJSON parses text as JSON.parse does, and its errors are V8's, but for
// errTooManyValues.
func parseJSON(text string) (any, error) {
	p := jsonParser{text: utf16.Encode([]rune(text))}
	value, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.peek() != endOfText {
		return nil, jsonError(fmt.Sprintf("SyntaxError: Unexpected non-whitespace character after JSON at position %d", p.pos))
	}
	return value, nil
}

const endOfText = -1

// jsonParser counts in UTF-16 code units, as JavaScript does.
type jsonParser struct {
	text   []uint16
	pos    int
	values int // so far
}

// current returns the code unit at pos, or endOfText.
func (p *jsonParser) current() int {
	if p.pos >= len(p.text) {
		return endOfText
	}
	return int(p.text[p.pos])
}

// peek skips white space and returns what follows it.
func (p *jsonParser) peek() int {
	for {
		switch c := p.current(); c {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return c
		}
	}
}

func (p *jsonParser) value(depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, jsonError("RangeError: Maximum call stack size exceeded")
	}
	if p.values++; p.values > maxAttachmentValues {
		return nil, errTooManyValues
	}
	switch c := p.peek(); {
	case c == '"':
		return p.string()
	case c == '-' || isDigit(c):
		return p.number()
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == 't':
		return true, p.literal("true")
	case c == 'f':
		return false, p.literal("false")
	case c == 'n':
		return nil, p.literal("null")
	}
	return nil, p.unexpected()
}

func (p *jsonParser) object(depth int) (any, error) {
	fields := delivery.Fields{}
	p.pos++
	if p.peek() == '}' {
		p.pos++
		return fields, nil
	}
	for first := true; ; first = false {
		key, err := p.key(first)
		if err != nil {
			return nil, err
		}
		if fields[key], err = p.value(depth + 1); err != nil {
			return nil, err
		}
		switch p.peek() {
		case ',':
			p.pos++
		case '}':
			p.pos++
			return fields, nil
		default:
			return nil, p.at("Expected ',' or '}' after property value")
		}
	}
}

// key reads a property's name and the colon behind it. V8 has words of its own
// for a colon that is missing after the first name, and only there.
func (p *jsonParser) key(first bool) (string, error) {
	switch {
	case p.peek() == '"':
	case first:
		return "", p.at("Expected property name or '}'")
	default:
		return "", p.at("Expected double-quoted property name")
	}
	key, err := p.string()
	switch {
	case err != nil:
		return "", err
	case p.peek() == ':':
		p.pos++
		return key, nil
	case first:
		return "", p.at("Expected ':' after property name")
	}
	return "", p.unexpected()
}

func (p *jsonParser) array(depth int) (any, error) {
	list := []any{}
	p.pos++
	if p.peek() == ']' {
		p.pos++
		return list, nil
	}
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if list = append(list, v); depth == 0 && len(list) > maxAttachments {
			return nil, errTooManyValues
		}
		switch p.peek() {
		case ',':
			p.pos++
		case ']':
			p.pos++
			return list, nil
		default:
			return nil, p.at("Expected ',' or ']' after array element")
		}
	}
}

func (p *jsonParser) literal(word string) error {
	for i := range len(word) {
		if p.current() != int(word[i]) {
			return p.unexpected()
		}
		p.pos++
	}
	return nil
}

func (p *jsonParser) string() (string, error) {
	p.pos++
	var out []uint16
	for {
		switch c := p.current(); {
		case c == endOfText:
			return "", p.at("Unterminated string")
		case c == '"':
			p.pos++
			return string(utf16.Decode(out)), nil
		case c < ' ':
			return "", p.at("Bad control character in string literal")
		case c == '\\':
			unit, err := p.escape()
			if err != nil {
				return "", err
			}
			out = append(out, unit)
		default:
			out = append(out, uint16(c))
			p.pos++
		}
	}
}

// escape reads what begins with a backslash.
func (p *jsonParser) escape() (uint16, error) {
	p.pos++
	c := p.current()
	switch c {
	case endOfText:
		return 0, p.unexpected()
	case 'u':
		return p.unicode()
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	default:
		if c > 0xff { // V8's table of escapes ends there
			return 0, p.unexpected()
		}
		return 0, p.at("Bad escaped character")
	}
	p.pos++
	return uint16(c), nil
}

func (p *jsonParser) unicode() (uint16, error) {
	var unit uint16
	p.pos++
	for range 4 {
		c := p.current()
		digit, err := strconv.ParseUint(string(rune(max(c, 0))), 16, 8)
		if err != nil {
			return 0, p.at("Bad Unicode escape")
		}
		unit = unit<<4 | uint16(digit)
		p.pos++
	}
	return unit, nil
}

func (p *jsonParser) number() (any, error) {
	start := p.pos
	if p.current() == '-' {
		p.pos++
		if !isDigit(p.current()) {
			return nil, p.at("No number after minus sign")
		}
	}
	if p.current() == '0' {
		p.pos++
		if isDigit(p.current()) {
			return nil, p.at("Unexpected number")
		}
	}
	p.digits()
	if p.current() == '.' {
		p.pos++
		if !isDigit(p.current()) {
			return nil, p.at("Unterminated fractional number")
		}
		p.digits()
	}
	if c := p.current(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.current(); c == '+' || c == '-' {
			p.pos++
		}
		if !isDigit(p.current()) {
			return nil, p.at("Exponent part is missing a number")
		}
		p.digits()
	}
	return jsNumber(string(utf16.Decode(p.text[start:p.pos]))), nil
}

func (p *jsonParser) digits() {
	for isDigit(p.current()) {
		p.pos++
	}
}

// jsNumber returns an int64 for a whole number that JavaScript knows exactly.
func jsNumber(literal string) any {
	f, _ := strconv.ParseFloat(literal, 64) // out of range is ±Inf, as in JavaScript
	if f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
		return int64(f)
	}
	return f
}

func isDigit(c int) bool { return c >= '0' && c <= '9' }

func (p *jsonParser) at(message string) error {
	return jsonError(fmt.Sprintf("SyntaxError: %s in JSON at position %d", message, p.pos))
}

// unexpected is the error for the code unit at pos, with up to ten on either
// side of it.
func (p *jsonParser) unexpected() error {
	const around = 10
	c := p.current()
	switch {
	case c == endOfText:
		return jsonError("SyntaxError: Unexpected end of JSON input")
	case isDigit(c) || c == '-':
		return p.at("Unexpected number")
	case c == '"':
		return p.at("Unexpected string")
	}
	text := string(utf16.Decode(p.text))
	switch text {
	case "NaN", "Infinity", "undefined", "[object Object]":
		return jsonError(fmt.Sprintf(`SyntaxError: "%s" is not valid JSON`, text))
	}
	before, after := "", ""
	from, to := 0, len(p.text)
	if len(p.text) > 2*around {
		if p.pos >= around {
			before, from = "...", p.pos-around
		}
		if p.pos < len(p.text)-around {
			after, to = "...", p.pos+around
		}
	}
	return jsonError(fmt.Sprintf(`SyntaxError: Unexpected token '%s', %s"%s"%s is not valid JSON`,
		string(utf16.Decode(p.text[p.pos:p.pos+1])), before, string(utf16.Decode(p.text[from:to])), after))
}
