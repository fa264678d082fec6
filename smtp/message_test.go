package smtp

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestStuff(t *testing.T) {
	for what, c := range map[string]struct {
		in, out string
		size    int
	}{
		"nothing":                 {"", ".\r\n", 0},
		"plain":                   {"a\r\nb\r\n", "a\r\nb\r\n.\r\n", 6},
		"no final line end":       {"a\r\nb", "a\r\nb\r\n.\r\n", 6},
		"dots":                    {".\r\n..a\r\nb.\r\n", "..\r\n...a\r\nb.\r\n.\r\n", 12},
		"bare line feed":          {"a\n.\nb\n", "a\r\n..\r\nb\r\n.\r\n", 9},
		"bare carriage return":    {"a\r.\rb\r\n", "a\r\n..\r\nb\r\n.\r\n", 9},
		"smuggled end":            {"a\n.\r\nMAIL FROM:<x>\r\n", "a\r\n..\r\nMAIL FROM:<x>\r\n.\r\n", 21},
		"other smuggled end":      {"a\r\n.\rMAIL\r\n", "a\r\n..\r\nMAIL\r\n.\r\n", 12},
		"ends in CR":              {"a\r", "a\r\n.\r\n", 3},
		"CR before CRLF":          {"a\r\r\n", "a\r\n\r\n.\r\n", 5},
		"begins with a line feed": {"\n.", "\r\n..\r\n.\r\n", 5},
	} {
		body, s := travelling([]byte(c.in))
		if string(body) != c.out || s.size != c.size {
			t.Errorf("%s: got %q, %+v", what, body, s)
		}
	}
}

// travelling is a message as it goes out, final dot included.
func travelling(message []byte) ([]byte, survey) {
	o := outgoing{survey: surveyOf(message), message: message}
	o.encode(nil)
	return append(bytes.Clone(o.lines), ".\r\n"...), o.survey
}

func TestAMessageThatNeedsNoChangeIsNotCopied(t *testing.T) {
	for what, c := range map[string]struct {
		message string
		asIs    bool
	}{
		"CRLF lines":      {"a\r\nb.\r\n\r\n", true},
		"nothing":         {"", true},
		"eight bits":      {"a\xff\r\n", true},
		"a leading dot":   {"a\r\n.b\r\n", false},
		"no final CRLF":   {"a\r\nb", false},
		"a bare LF":       {"a\nb\r\n", false},
		"a bare CR":       {"a\rb\r\n", false},
		"a dot after all": {strings.Repeat("a line\r\n", 1000) + ".\r\n", false},
	} {
		m := []byte(c.message)
		o := outgoing{survey: surveyOf(m), message: m}
		o.encode(nil)
		same := len(m) == len(o.lines) && (len(m) == 0 || &m[0] == &o.lines[0])
		if same != c.asIs || o.eightBit != strings.Contains(c.message, "\xff") {
			t.Errorf("%s: %+v, the same memory: %v", what, o.survey, same)
		}
	}
}

func FuzzStuff(f *testing.F) {
	f.Add([]byte("a\r\n.\r\nb"))
	f.Fuzz(func(t *testing.T, in []byte) {
		body, s := travelling(in)
		size := s.size
		if s.asIs != bytes.Equal(in, body[:len(body)-3]) || s.eightBit == isASCII(string(in)) {
			t.Fatalf("%q: %+v", in, s)
		}
		if n := len(stuff(nil, in, 0)); n != len(body)-3 || n < size+s.dots {
			t.Fatalf("%q: %+v, %d bytes travel", in, s, n)
		}
		if bytes.Index(append([]byte("\r\n"), body...), []byte("\r\n.\r\n")) != len(body)-3 {
			t.Fatalf("%q ends early: %q", in, body)
		}
		crlf := bytes.Count(body, []byte("\r\n"))
		if bytes.Count(body, []byte("\r")) != crlf || bytes.Count(body, []byte("\n")) != crlf {
			t.Fatalf("%q has bare CR or LF: %q", in, body)
		}
		plain := bytes.ReplaceAll(append([]byte("\r\n"), body[:len(body)-3]...), []byte("\r\n."), []byte("\r\n"))
		if len(plain)-2 != size {
			t.Fatalf("%q: size %d, want %d", in, size, len(plain)-2)
		}
	})
}

func TestAddressesThatCouldEndACommandAreRefused(t *testing.T) {
	for _, bad := range []string{"a@b\r\nRSET", "a\n@b", "a\x00@b", "a@b> SIZE=1", "<a@b", "a\t@b", "a@b\x7f", "ａ@b\r"} {
		if _, _, err := (Envelope{From: bad, To: []string{"x@y"}}).wire(); err == nil || err.Stage != StageMail || !errors.Is(err, ErrInvalidAddress) {
			t.Errorf("sender %q: %v", bad, err)
		}
		if _, _, err := (Envelope{To: []string{"x@y", bad}}).wire(); err == nil || err.Stage != StageRcpt || err.Temporary() || err.Cause() != CauseLocal {
			t.Errorf("recipient %q: %v", bad, err)
		}
	}
	if _, _, err := (Envelope{To: []string{""}}).wire(); !errors.Is(err, ErrInvalidAddress) {
		t.Errorf("empty recipient: %v", err)
	}
	if _, _, err := (Envelope{}).wire(); !errors.Is(err, ErrNoRecipients) {
		t.Errorf("no recipient: %v", err)
	}
}

func TestAddressesThatAreTooLongAreRefused(t *testing.T) {
	long := func(c string, n int) string { return strings.Repeat(c, n/len(c)) }
	for what, c := range map[string]struct {
		address string
		good    bool
	}{
		"longest":                  {long("a", 742) + "@" + long("b", 255), true},
		"one more":                 {long("a", 743) + "@" + long("b", 255), false},
		"longest domain":           {"a@" + long("ü", 254), true},
		"one more in the domain":   {"a@" + long("ü", 256), false},
		"58 KB of domain":          {"a@" + long("ü", 58<<10), false},
		"58 KB and no domain":      {long("a", 58<<10), false},
		"a control character (C1)": {"a\u0085@x.test", false},
		"one in the domain":        {"a@x\u009b.test", false},
	} {
		_, _, err := (Envelope{From: c.address, To: []string{"x@y"}}).wire()
		switch {
		case c.good && err != nil:
			t.Errorf("%s: %v", what, err)
		case c.good:
		case err == nil || !errors.Is(err, ErrInvalidAddress):
			t.Errorf("%s: %v", what, err)
		case len(err.Error()) > 1500:
			t.Errorf("%s: the error has %d bytes", what, len(err.Error()))
		}
	}
}

func TestDomainsTravelInASCII(t *testing.T) {
	for in, want := range map[string]string{
		"a@Bücher.example":        "a@xn--bcher-kva.example",
		"jörg@bücher.example":     "jörg@bücher.example", // SMTPUTF8 either way
		"a@b.example":             "a@b.example",
		"\"a@ü\"@b.example":       "\"a@ü\"@b.example",
		"postmaster":              "postmaster",
		"a@[IPv6:2001:db8::1]":    "a@[IPv6:2001:db8::1]",
		"":                        "",
		"a@under_score.ü.example": "a@under_score.xn--tda.example",
	} {
		if got, err := wireAddress(in); got != want || err != nil {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
}

func FuzzAddress(f *testing.F) {
	f.Add("a@bücher.example")
	f.Fuzz(func(t *testing.T, in string) {
		if got, err := wireAddress(in); err == nil && strings.ContainsAny(got, "\r\n\x00<>") {
			t.Fatalf("%q travels as %q", in, got)
		}
	})
}
