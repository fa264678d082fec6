package compose

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postrider/delivery"
)

// recorded is a document and the mail the extension's library made of it.
type recorded struct {
	Mail      map[string]any `json:"mail"`
	NoBody    bool           `json:"noBody"` // as from a template that has neither text nor html
	From      string         `json:"from"`
	To        []string       `json:"to"`
	MessageID string         `json:"messageId"`
	Raw       string         `json:"raw"`
}

func TestMailsSayWhatTheMailLibrarysSay(t *testing.T) {
	f, err := os.Open("testdata/nodemailer.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := New(Options{DefaultFrom: "Default Sender <default@sender.test>"}, nil, nil)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r recorded
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		compareRecorded(t, c, r)
	}
}

func compareRecorded(t *testing.T, c *Composer, r recorded) {
	t.Helper()
	if r.NoBody {
		r.Mail["message"].(map[string]any)["text"] = "x"
	}
	doc, err := delivery.Decode(r.Mail)
	if err != nil {
		t.Fatalf("%v: %v", r.Mail, err)
	}
	if r.NoBody {
		doc.Message.Text = ""
	}
	m, err := c.Compose(context.Background(), doc, testClaim())
	if err != nil {
		t.Errorf("%v: %v", r.Mail, err)
		return
	}
	checkWire(t, m.Message)
	raw, err := base64.StdEncoding.DecodeString(r.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if m.From != r.From || !slices.Equal(m.To, r.To) {
		t.Errorf("%v: envelope %q %q, want %q %q", r.Mail, m.From, m.To, r.From, r.To)
	}
	if got, want := readBack(t, m.Message), readBack(t, raw); !reflect.DeepEqual(got, want) {
		t.Errorf("%v:\ngot  %+v\nwant %+v", r.Mail, got, want)
	}
	if got, want := comparableHeader(m.Message), comparableHeader(raw); !slices.Equal(got, want) {
		t.Errorf("%v:\ngot  %q\nwant %q", r.Mail, got, want)
	}
}

var generatedID = regexp.MustCompile(`<[0-9a-f-]{36}@`)

// comparableHeader returns the header's fields that are not free, decoded.
func comparableHeader(msg []byte) []string {
	head, _, _ := strings.Cut(string(msg), "\r\n\r\n")
	head = strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(head)
	var fields []string
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Date", "Bcc", "Content-Transfer-Encoding", "Content-Type", "Content-Disposition":
			continue
		}
		value = generatedID.ReplaceAllString(decodeWords(value), "<@")
		fields = append(fields, name+": "+strings.Join(strings.Fields(value), " "))
	}
	slices.Sort(fields)
	return fields
}
