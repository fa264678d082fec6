package smtp

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func parse(s string) (Reply, error) {
	return readReply(bufio.NewReaderSize(strings.NewReader(s), maxReplyLine))
}

func TestRepliesKeepEveryLineAsItCame(t *testing.T) {
	for what, c := range map[string]struct {
		in       string
		code     int
		enhanced string
		shown    string
	}{
		"one line":                   {"250 2.1.0 Ok\r\n", 250, "2.1.0", "250 2.1.0 Ok"},
		"several lines":              {"250-first line\r\n250 second line id=42\r\n", 250, "", "250-first line\n250 second line id=42"},
		"bare line feeds":            {"550-5.7.26 no\n550 5.7.26 end\n", 550, "5.7.26", "550-5.7.26 no\n550 5.7.26 end"},
		"no text":                    {"354\r\n", 354, "", "354"},
		"empty text":                 {"250 \r\n", 250, "", "250 "},
		"no empty enhanced code":     {"550 5.. x\r\n", 550, "", "550 5.. x"},
		"an IP address is no code":   {"550 5.1.2.3 blocked\r\n", 550, "", "550 5.1.2.3 blocked"},
		"three digits and no more":   {"550 5.1234.1 x\r\n", 550, "", "550 5.1234.1 x"},
		"a version is not our class": {"220 3.1.4 ready\r\n", 220, "", "220 3.1.4 ready"},
		"UTF-8":                      {"550 Postfach gelöscht\r\n", 550, "", "550 Postfach gelöscht"},
		"what is not UTF-8":          {"550 gel\xf6scht\r\n", 550, "", "550 gelöscht"},
	} {
		r, err := parse(c.in)
		if err != nil || r.Code != c.code || r.Enhanced != c.enhanced || r.String() != c.shown {
			t.Errorf("%s: got %+v, %v", what, r, err)
		}
	}
}

func TestNonsenseIsNoReply(t *testing.T) {
	for what, in := range map[string]string{
		"no code":           "hello\r\n",
		"too short":         "25\r\n",
		"empty line":        "\r\n",
		"code out of range": "650 x\r\n",
		"no separator":      "250Ok\r\n",
		"codes differ":      "250-a\r\n550 b\r\n",
		"HTTP":              "HTTP/1.1 400 Bad Request\r\n",
		"endless line":      "250 " + strings.Repeat("x", maxReplyLine) + "\r\n",
		"endless lines":     strings.Repeat("250-x\r\n", maxReplyLines+1),
	} {
		if r, err := parse(in); !errors.Is(err, errMalformed) {
			t.Errorf("%s: got %+v, %v", what, r, err)
		}
	}
	if _, err := parse("250-half a reply\r\n"); !errors.Is(err, io.EOF) {
		t.Errorf("a reply that breaks off: %v", err)
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 2.1.0 Ok\r\n", "250-a\r\n250 b\r\n", "550 \xff\n", "354\r\n", "250-a\r\n251 b\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := parse(in)
		if err != nil {
			if !r.IsZero() {
				t.Fatalf("%q: an error and a reply %+v", in, r)
			}
			return
		}
		if r.Code < 200 || r.Code > 599 || len(r.Lines) == 0 || len(r.Lines) > maxReplyLines {
			t.Fatalf("%q: %+v", in, r)
		}
		if !utf8.ValidString(r.String()) || strings.Count(r.String(), "\n") != len(r.Lines)-1 {
			t.Fatalf("%q: %q", in, r.String())
		}
		if again, err := parse(strings.Join(r.Lines, "\r\n") + "\r\n"); utf8.ValidString(in) &&
			(err != nil || !slices.Equal(again.Lines, r.Lines)) {
			t.Fatalf("%q: reads differently when read again: %+v, %v", in, again, err)
		}
	})
}

func FuzzExtensions(f *testing.F) {
	f.Add("250-me\r\n250-SIZE 99999999999999999999\r\n250-AUTH=LOGIN\r\n250 auth plain\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		r, err := parse(in)
		if err != nil {
			return
		}
		if e := readExtensions(r); e.maxSize < 0 || !e.auth && e.mechs != nil {
			t.Fatalf("%q: %+v", in, e)
		}
	})
}

func TestExtensionsAreReadWhateverTheirSpelling(t *testing.T) {
	r, err := parse("250-PIPELINING\r\n250-Size 1000\r\n250-8bitmime\r\n250-AUTH=LOGIN\r\n250-AUTH plain CRAM-MD5\r\n250-XAUTH FOO\r\n250 STARTTLS\r\n")
	if err != nil {
		t.Fatal(err)
	}
	e := readExtensions(r)
	if e.pipelining || !e.size || e.maxSize != 1000 || !e.eightBit || !e.startTLS || e.utf8 ||
		!slices.Equal(e.mechs, []string{"LOGIN", "PLAIN", "CRAM-MD5"}) {
		t.Errorf("got %+v", e)
	}
}
