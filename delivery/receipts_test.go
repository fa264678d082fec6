package delivery

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A word that is wrong would silently ask for nothing, so it is refused; a field of
// somebody's own that happens to be called receipts is not ours to judge.
func TestReceiptsAreAskedForByAMapOfBooleans(t *testing.T) {
	for name, c := range map[string]struct {
		receipts any
		want     Receipts
		fault    string
	}{
		"both":           {Fields{"open": true, "read": true}, Receipts{Open: true, Read: true}, ""},
		"one":            {Fields{"open": false, "read": true}, Receipts{Read: true}, ""},
		"null":           {nil, Receipts{}, ""},
		"null in it":     {Fields{"open": nil}, Receipts{}, ""},
		"unknown fields": {Fields{"sent": "x"}, Receipts{}, ""},
		"a list":         {[]any{Fields{"open": "x"}}, Receipts{}, ""},
		"a boolean":      {true, Receipts{}, ""},
		"a time":         {time.Unix(0, 0), Receipts{}, ""},
		"a string in it": {Fields{"open": "true"}, Receipts{}, "Field 'receipts.open' must be a boolean"},
		"numbers in it":  {Fields{"open": true, "read": int64(1)}, Receipts{}, "Field 'receipts.read' must be a boolean"},
	} {
		got, err := Decode(Fields{"to": "ada@rcpt.test", "message": Fields{"subject": "S", "text": "x"}, "receipts": c.receipts})
		if c.fault == "" && (err != nil || got.Receipts != c.want) {
			t.Errorf("%s: got %+v, %v", name, got.Receipts, err)
		}
		if f, ok := errors.AsType[*Failure](err); c.fault != "" && (!ok || !strings.Contains(f.Message, c.fault) || !strings.Contains(f.Explain, "it must be true or false")) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
