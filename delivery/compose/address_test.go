package compose

import (
	"bufio"
	"encoding/json"
	"mime"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// addressCase is what the extension's mail library makes of an address list:
// the envelope's recipients and the value of To, as testdata/addresses.jsonl
// records it.
type addressCase struct {
	In     string   `json:"in"`
	To     []string `json:"to"`
	Header string   `json:"header"`
}

func TestAddressListsAreReadAsByTheMailLibrary(t *testing.T) {
	file := "testdata/addresses.jsonl"
	if f := os.Getenv("ADDRESS_TABLE"); f != "" {
		file = f
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	bad := 0
	for lines.Scan() && bad < 20 {
		var c addressCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(c.To, "") {
			continue // an empty recipient, which the library gives up at later
		}
		list := parseAddresses(c.In, 0)
		if got := envelope(list); !slices.Equal(got, c.To) {
			t.Errorf("%q: envelope %q, want %q", c.In, got, c.To)
			bad++
		}
		got, want := readable(string(appendMailboxes(nil, list))), readable(c.Header)
		if got != want {
			t.Errorf("%q: header %q, want %q", c.In, got, want)
			bad++
		}
	}
}

// readable decodes encoded words, whose cuts are free.
func readable(s string) string {
	d := mime.WordDecoder{}
	out, err := d.DecodeHeader(s)
	if err != nil {
		return s
	}
	return strings.TrimSpace(out)
}

// TestPlainAddressesAreReadLikeAllOthers reads mailboxes as such and as elements of
// a list, in which nothing is plain.
func TestPlainAddressesAreReadLikeAllOthers(t *testing.T) {
	names := []string{"", "Ada", "Ada Lovelace ", " Ada  Lovelace", "J\u00f6rg", "O'Neil", "a.b", "\u00a0Ada", "<x", "x>", "a@b.c", "Ada\tL", "x\x01y", "a\"b", "a\\b", "a(b", "a:b", "a;b"}
	addresses := []string{"ada@rcpt.test", "ada@rcpt.test ", " ada@rcpt.test", "Ada@Rcpt.Test", "ada@@rcpt.test", "ada", "@", "a b@rcpt.test", "<ada@rcpt.test", "ada@rcpt.test>", "a:b@c.test", ""}
	plain := 0
	for _, name := range names {
		for _, address := range addresses {
			for _, list := range []string{name + "<" + address + ">", name + address} {
				if _, ok := parsePlain(list); ok {
					plain++
				}
				got, want := parseAddresses(list, 0), parseAddresses(","+list, 0)
				if !reflect.DeepEqual(got, want) && (len(got) > 0 || len(want) > 0) {
					t.Errorf("%q: got %+v, want %+v", list, got, want)
				}
			}
		}
	}
	if plain < 8 {
		t.Errorf("only %d are plain", plain)
	}
}
