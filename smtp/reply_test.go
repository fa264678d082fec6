package smtp

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"postrider/smtp/smtptest"
)

func parse(s string) (Reply, error) {
	return readReply(bufio.NewReaderSize(strings.NewReader(s), maxReplyLine), keepReply)
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

func TestALongReplyIsReadWholeAndKeptInPart(t *testing.T) {
	for what, line := range map[string]string{
		"short lines":   "550-x",
		"no text":       "550-",
		"usual lines":   "550-5.1.1 " + strings.Repeat("x", 60),
		"long lines":    "550-" + strings.Repeat("x", 4000),
		"other letters": "550-x" + strings.Repeat("ü", 300),
		"not UTF-8":     "550-" + strings.Repeat("\xff", 1000),
	} {
		for keep := range 300 { // so that the cut comes at every place of a line
			keep += keepRcpt
			in := strings.Repeat(line+"\r\n", maxReplyLines-1) + "550 end\r\n"
			br := bufio.NewReaderSize(strings.NewReader(in+"250 next\r\n"), maxReplyLine)
			r, err := readReply(br, keep)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			got := r.String()
			whole := len(in)-len("\r\n")-maxReplyLines+1 <= keep && what != "not UTF-8"
			switch {
			case whole && (strings.Contains(got, cutMark) || len(r.Lines) != maxReplyLines):
				t.Fatalf("%s, %d: cut to %d lines", what, keep, len(r.Lines))
			case whole:
			case len(got) > keep || len(got) < keep-9 || !strings.HasSuffix(got, cutMark) || !utf8.ValidString(got):
				t.Fatalf("%s, %d: %d bytes that end in %.20q", what, keep, len(got), got[len(got)-20:])
			}
			for _, l := range r.Lines {
				if !strings.HasPrefix(l, "550") {
					t.Fatalf("%s, %d: a line %q", what, keep, l)
				}
			}
			if next, err := readReply(br, keep); err != nil || next.String() != "250 next" {
				t.Fatalf("%s, %d: then comes %q, %v", what, keep, next, err)
			}
		}
	}
}

func TestAReplyThatFitsIsKeptWhole(t *testing.T) {
	for n := keepRcpt - 10; n < keepRcpt+10; n++ {
		in := "550-" + strings.Repeat("x", n-8-len("\n")) + "\r\n550 \r\n"
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(in), maxReplyLine), keepRcpt)
		if fits := n <= keepRcpt; err != nil || fits == strings.Contains(r.String(), cutMark) || fits != (len(r.String()) == n) {
			t.Errorf("%d bytes: %d kept, %v", n, len(r.String()), err)
		}
	}
}

func TestRepliesToRecipientsAreKeptInPart(t *testing.T) {
	t.Parallel()
	reply := strings.Repeat("550-"+strings.Repeat("x", 1000)+"\n", 200) + "550 end"
	s := sink(t, smtptest.Behaviour{RcptDefault: smtptest.Replies{reply}, Rcpt: map[string]smtptest.Replies{"good@rcpt.test": {"250 ok"}}, DataEnd: smtptest.Replies{reply}})
	_, err := pool(t, s.Addr(), Options{}).Send(t.Context(), t.Context(), letter("a@rcpt.test", "good@rcpt.test", "b@rcpt.test"))
	e := expect(t, err, StageMessage, CauseReply, false)
	if n := len(e.Reply.String()); n > keepReply || n < keepReply-9 {
		t.Errorf("%d bytes of the final reply", n)
	}
	for i, r := range e.Recipients {
		if n := len(r.Reply.String()); (n > keepRcpt || n < keepRcpt-9) && i != 1 || i == 1 && r.Reply.String() != "250 ok" {
			t.Errorf("%s: %d bytes", r.Address, n)
		}
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
		if again, err := parse(strings.Join(r.Lines, "\r\n") + "\r\n"); utf8.ValidString(in) && len(in) < keepReply &&
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
		if e := readExtensions(r); !e.auth && e.mechs != nil {
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
	if e.pipelining || !e.size || !e.eightBit || !e.startTLS || e.utf8 ||
		!slices.Equal(e.mechs, []string{"LOGIN", "PLAIN", "CRAM-MD5"}) {
		t.Errorf("got %+v", e)
	}
}
