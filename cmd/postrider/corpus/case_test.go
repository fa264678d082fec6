package corpus

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// testCase is one line of the corpus.
type testCase struct {
	ID     string             `json:"id"` // topic/name
	Topic  string             `json:"topic"`
	Config map[string]*string `json:"config"` // nil value: unset
	Docs   map[string]object  `json:"docs"`   // by path; written before the worker starts

	Mail   object            `json:"mail"`
	MailID string            `json:"mailId"`
	Mails  map[string]object `json:"mails"` // by ID; instead of Mail

	// AllowHosts stands in for the attachment hosts that every case allows.
	AllowHosts *string `json:"allowHosts"`

	SMTP     object `json:"smtp"`
	Steps    []step `json:"steps"`
	SettleMS int    `json:"settleMs"`
	GraceMS  int    `json:"graceMs"`

	LeakProbe        []string `json:"leakProbe"` // must not be in the log
	SortTransactions bool     `json:"sortTransactions"`
	Expect           object   `json:"expect"`

	order []string // IDs of Mails as the case gives them
}

// step is something done to a document or to the SMTP server once a moment has
// come.
type step struct {
	After string `json:"after"` // terminal, data, processing, ms:N, quiet:N
	N     int    `json:"n"`     // for data: how many messages
	Do    string `json:"do"`    // update, set, delete, smtp, smtpUp, smtpDown
	Path  string `json:"path"`  // the document; empty means the first mail
	Data  object `json:"data"`
}

// name is the ID without its topic.
func (c *testCase) name() string {
	_, name, _ := strings.Cut(c.ID, "/")
	return name
}

// mails returns the IDs of the documents to add, in order, and their fields.
func (c *testCase) mails() ([]string, map[string]object) {
	if len(c.Mails) > 0 {
		return c.order, c.Mails
	}
	id := c.MailID
	if id == "" {
		id = "m1"
	}
	return []string{id}, map[string]object{id: c.Mail}
}

// loadAll reads the corpus, and the cases that were recorded in the same way
// for this test.
func loadAll() ([]*testCase, error) {
	cases, err := loadCases("testdata/corpus.jsonl")
	if err != nil {
		return nil, err
	}
	more, err := loadCases("testdata/more.jsonl")
	return append(cases, more...), err
}

// loadCases reads cases, one a line.
func loadCases(path string) ([]*testCase, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the corpus: %w", err)
	}
	defer func() { _ = f.Close() }()
	var cases []*testCase
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		c := &testCase{}
		if err := json.Unmarshal(lines.Bytes(), c); err != nil {
			return nil, fmt.Errorf("case %d: %w", len(cases)+1, err)
		}
		if c.order, err = mailOrder(lines.Bytes()); err != nil {
			return nil, fmt.Errorf("%s: %w", c.ID, err)
		}
		cases = append(cases, c)
	}
	return cases, lines.Err()
}

// mailOrder reads the keys of "mails" in the order they are written in: a map
// forgets it, and the first one matters.
func mailOrder(line []byte) ([]string, error) {
	var c struct {
		Mails json.RawMessage `json:"mails"`
	}
	if err := json.Unmarshal(line, &c); err != nil || len(c.Mails) == 0 {
		return nil, err
	}
	var keys []string
	d := json.NewDecoder(bytes.NewReader(c.Mails))
	for depth, expectKey := 0, false; ; {
		token, err := d.Token()
		if err != nil {
			return keys, nil //nolint:nilerr // the end: the text has been parsed once already
		}
		switch t := token.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				depth++
			} else {
				depth--
			}
			expectKey = depth == 1
		case string:
			if depth == 1 && expectKey {
				keys = append(keys, t)
			}
			expectKey = depth == 1 && !expectKey
		default:
			expectKey = depth == 1
		}
	}
}

// places puts the ports and folders of one run into a case's strings, and takes
// them out of what was seen.
type places struct {
	smtpPort, httpPort int
	fixtures           string // absolute path
}

func (p places) put(s string) string {
	return strings.NewReplacer("<SMTP_PORT>", strconv.Itoa(p.smtpPort), "<HTTP_PORT>", strconv.Itoa(p.httpPort), "<FIXTURES>", p.fixtures).Replace(s)
}

func (p places) take(s string) string {
	return strings.NewReplacer("127.0.0.1:"+strconv.Itoa(p.smtpPort), "127.0.0.1:<SMTP_PORT>",
		"127.0.0.1:"+strconv.Itoa(p.httpPort), "127.0.0.1:<HTTP_PORT>", p.fixtures, "<FIXTURES>").Replace(s)
}

// each applies f to every string in a JSON value, keys excepted.
func each(v any, f func(string) string) any {
	switch v := v.(type) {
	case string:
		return f(v)
	case list:
		out := make(list, len(v))
		for i, x := range v {
			out[i] = each(x, f)
		}
		return out
	case object:
		out := make(object, len(v))
		for k, x := range v {
			out[k] = each(x, f)
		}
		return out
	default:
		return v
	}
}

// compact is v as JSON. Go writes a map's keys sorted, so equal values have
// equal texts.
func compact(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprintf("%#v", v) // a NaN or the like; never equal to anything
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// clone copies a JSON value, whatever Go types it is made of, into plain ones.
func clone(v any) any {
	var out any
	if err := json.Unmarshal([]byte(compact(v)), &out); err != nil {
		return compact(v)
	}
	return out
}
