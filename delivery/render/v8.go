package render

import (
	"regexp"
	"strconv"
	"strings"
)

// thrown is a JavaScript error that came out of a template.
type thrown struct {
	Text    string `json:"text"` // String(error)
	Name    string `json:"name"`
	Message string `json:"message"`
	Stack   string `json:"stack"`
	Source  string `json:"source"` // of the generated function it was thrown in; empty if in Handlebars itself
}

func (e thrown) isOutOfMemory() bool {
	return e.Name == "InternalError" && e.Message == "out of memory"
}

func (e thrown) isStackOverflow() bool {
	return e.Message == "stack overflow" && (e.Name == "InternalError" || e.Name == "SyntaxError")
}

var (
	propertyOfNothing = regexp.MustCompile(`^cannot (read|set) property '(.*)' of (undefined|null)$`)
	stackFrame        = regexp.MustCompile(`(?m)^\s*at .*:(\d+):(\d+)\)$`)
)

// v8 returns the error's text as Node words it. Handlebars' own errors are the
// same everywhere; those of the language are each engine's own, and QuickJS
// gives less away: what was no function has to be read in the code.
func (e thrown) v8() string {
	if e.isStackOverflow() {
		return "RangeError: Maximum call stack size exceeded"
	}
	if e.Name != "TypeError" {
		return e.Text
	}
	if m := propertyOfNothing.FindStringSubmatch(e.Message); m != nil {
		plural := map[string]string{"read": "read properties", "set": "set properties"}[m[1]]
		return "TypeError: Cannot " + plural + " of " + m[3] + " (" + m[1] + "ing '" + m[2] + "')"
	}
	switch e.Message {
	case "toPrimitive":
		return "TypeError: Cannot convert object to primitive value"
	case "not a function":
		return "TypeError: " + e.callee() + " is not a function"
	}
	return e.Text
}

// callee returns, in V8's spelling, the expression that was called where the
// error was thrown.
func (e thrown) callee() string {
	frame := stackFrame.FindStringSubmatch(e.Stack)
	if frame == nil {
		return intermediate
	}
	source := e.Source
	if source == "" {
		source = script()
	}
	line, _ := strconv.Atoi(frame[1])
	column, _ := strconv.Atoi(frame[2])
	lines := strings.Split(source, "\n")
	if line < 1 || line > len(lines) {
		return intermediate
	}
	return calleeAt(lines[line-1], column-1)
}

// intermediate is what V8 writes for an expression that it doesn't spell out.
const intermediate = "(intermediate value)"

var scriptToken = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[\w$]+|\|\||&&|[!=]==?|\S`)

// calleeAt spells the callee of the call whose parenthesis opens at or after
// column of line.
func calleeAt(line string, column int) string {
	runes := []rune(line)
	if column > len(runes) {
		return intermediate
	}
	column = len(string(runes[:column]))
	var tokens []string
	for _, at := range scriptToken.FindAllStringIndex(line, -1) {
		token := line[at[0]:at[1]]
		if at[0] >= column && token == "(" {
			p := printer{tokens: tokens[calleeStart(tokens):]}
			return p.expression()
		}
		tokens = append(tokens, token)
	}
	return intermediate
}

// calleeStart returns where the expression begins that tokens end with: names,
// calls and indexes joined by points.
func calleeStart(tokens []string) int {
	i := len(tokens) - 1
	for i >= 0 {
		for i > 0 && (tokens[i] == ")" || tokens[i] == "]") {
			i = opening(tokens, i)
			if i > 0 && isOperand(tokens[i-1]) {
				i--
				continue
			}
			break
		}
		if i < 2 || tokens[i-1] != "." {
			break
		}
		i -= 2
	}
	return max(i, 0)
}

func opening(tokens []string, i int) int {
	depth := 0
	for ; i >= 0; i-- {
		switch tokens[i] {
		case ")", "]":
			depth++
		case "(", "[":
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return 0
}

func isOperand(token string) bool {
	switch token[0] {
	case ')', ']', '_', '$':
		return token != "return"
	}
	c := token[0] | ' '
	return token != "return" && (c >= 'a' && c <= 'z')
}

// printer spells an expression of generated code the way V8's CallPrinter
// does: calls without their arguments, operators in parentheses, an assignment
// by its target, and a conditional as three intermediate values.
type printer struct {
	tokens []string
	pos    int
}

func (p *printer) peek() string {
	if p.pos >= len(p.tokens) {
		return ""
	}
	return p.tokens[p.pos]
}

func (p *printer) accept(token string) bool {
	if p.peek() != token {
		return false
	}
	p.pos++
	return true
}

func (p *printer) expression() string {
	left := p.operators(0)
	switch {
	case p.accept("="):
		p.expression()
		return left
	case p.accept("?"):
		p.expression()
		p.accept(":")
		p.expression()
		return strings.Repeat(intermediate, 3)
	}
	return left
}

// operators spells binary operators from the weakest: a || b || c is one list.
func (p *printer) operators(level int) string {
	levels := [][]string{{"||"}, {"&&"}, {"==", "!=", "===", "!=="}}
	if level == len(levels) {
		return p.postfix()
	}
	out := p.operators(level + 1)
	operands := 1
	for {
		token := p.peek()
		found := false
		for _, operator := range levels[level] {
			found = found || token == operator
		}
		if !found {
			break
		}
		p.pos++
		out += " " + token + " " + p.operators(level+1)
		operands++
	}
	if operands > 1 {
		return "(" + out + ")"
	}
	return out
}

func (p *printer) postfix() string {
	out := p.primary()
	for {
		switch {
		case p.accept("."):
			out += "." + p.peek()
			p.pos++
		case p.accept("["):
			out += "[" + p.expression() + "]"
			p.accept("]")
		case p.peek() == "(":
			p.skip()
			out += "(...)"
		default:
			return out
		}
	}
}

func (p *printer) primary() string {
	switch token := p.peek(); token {
	case "":
		return intermediate
	case "(":
		p.pos++
		out := p.expression()
		p.accept(")")
		return out
	case "{":
		p.skip()
		return intermediate
	default:
		p.pos++
		return token
	}
}

// skip passes over a pair of brackets and all in it.
func (p *printer) skip() {
	depth := 0
	for ; p.pos < len(p.tokens); p.pos++ {
		switch p.tokens[p.pos] {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			if depth--; depth == 0 {
				p.pos++
				return
			}
		}
	}
}
