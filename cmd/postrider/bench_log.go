package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// maxKinds is how many different lines of the worker's log are told apart.
const maxKinds = 20

// complaints are the lines that the worker logs while it is measured: counted by
// what they say, and each kind shown once, so that a thousand refusals don't hide
// the rest. It takes a line for each Write, and is safe for concurrent use.
type complaints struct {
	show func(text string) // is told of each kind when it comes up

	mu    sync.Mutex
	kinds []complaint // in the order in which they came up
}

// complaint is a kind of line.
type complaint struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

// Write takes one line of the log.
func (c *complaints) Write(line []byte) (int, error) {
	text := essence(line)
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.kinds, func(k complaint) bool { return k.Text == text })
	switch {
	case i >= 0:
		c.kinds[i].Count++
	case len(c.kinds) == maxKinds:
		c.kinds[maxKinds-1].Count++
		c.kinds[maxKinds-1].Text = "others"
	default:
		c.kinds = append(c.kinds, complaint{text, 1})
		c.show(text)
	}
	return len(line), nil
}

// counted returns the kinds, the most frequent first.
func (c *complaints) counted() []complaint {
	c.mu.Lock()
	defer c.mu.Unlock()
	kinds := slices.Clone(c.kinds)
	slices.SortStableFunc(kinds, func(a, b complaint) int { return cmp.Compare(b.Count, a.Count) })
	return kinds
}

// essence returns what a line of the log says of more than its own document.
func essence(line []byte) string {
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil {
		return plain(strings.TrimSpace(string(line)))
	}
	said := fmt.Sprint(fields["message"])
	for _, name := range []string{"outcome", "phase", "code", "enhanced", "command", "cause", "err"} {
		if v, there := fields[name]; there && v != "" {
			said += fmt.Sprintf(", %s %v", name, v)
		}
	}
	return plain(said)
}
