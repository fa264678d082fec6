package compose

import (
	"errors"
	"slices"
	"testing"

	"postrider/delivery"
)

func directory(t *testing.T, emails map[string]any) Users {
	return usersFunc(func(uids []string) (map[string]any, error) {
		seen := map[string]bool{}
		for _, uid := range uids {
			if uid == "" || seen[uid] {
				t.Errorf("asked for %q", uids)
			}
			seen[uid] = true
		}
		return emails, nil
	})
}

func TestUIDsBecomeAddresses(t *testing.T) {
	users := directory(t, map[string]any{
		"u1": "u1@users.test", "u2": "u2@users.test", "u4": int64(5), "u5": "", "u6": "Named User <u6@users.test>",
		"u7": []any{"a7@users.test", "b7@users.test", int64(1)}, "u8": delivery.Fields{"address": "U8@USERS.test", "name": "Ü"}, "u9": delivery.Fields{"x": "y"},
		"u10": []byte("Bytes <b10@users.test>"),
	})
	m, _ := mustCompose(t, New(Options{}, users, nil), delivery.Document{
		From: "s@sender.test", To: []string{"ada@rcpt.test"}, ToUIDs: []string{"u2", "u1", "missing", "u2", "u4", "u5", "u9", "a/b/c"},
		CcUIDs: []string{"u6", "u1"}, BccUIDs: []string{"u7", "u8", "u10"}, Message: delivery.Message{Text: "x"},
	})
	if want := []string{"ada@rcpt.test", "u2@users.test", "u1@users.test", "u6@users.test", "a7@users.test", "b7@users.test", "U8@users.test", "b10@users.test"}; !slices.Equal(m.To, want) {
		t.Errorf("recipients %q, want %q", m.To, want)
	}
	if got, want := headerOf(t, m.Message, "To"), "ada@rcpt.test, u2@users.test, u1@users.test, u2@users.test"; got != want {
		t.Errorf("To: %q, want %q", got, want)
	}
	if got, want := headerOf(t, m.Message, "Cc"), "Named User <u6@users.test>, u1@users.test"; got != want {
		t.Errorf("Cc: %q, want %q", got, want)
	}
}

func TestUIDFailures(t *testing.T) {
	known := directory(t, map[string]any{"number": int64(5), "evil": "a@users.test\r\nBcc: b@users.test", "map": delivery.Fields{"address": "a\n@b.test"}})
	own := &delivery.Failure{Class: delivery.Permanent, Phase: delivery.PhaseUsers, Message: "Error: 3 INVALID_ARGUMENT: x", Explain: "x"}
	for name, tc := range map[string]struct {
		users Users
		to    []string
		uids  []string
		want  string
		class delivery.Class
	}{
		"no collection":       {nil, nil, []string{"u"}, "Error: Must specify a users collection to send using uids.", delivery.Permanent},
		"no collection, none": {nil, []string{"a@b.test"}, []string{}, "Error: Must specify a users collection to send using uids.", delivery.Permanent},
		"nobody":              {known, nil, []string{"nobody"}, "Error: Failed to deliver email. Expected at least 1 recipient.", delivery.Permanent},
		"sub-path":            {known, nil, []string{"u1/private/contact"}, "Error: Failed to deliver email. Expected at least 1 recipient.", delivery.Permanent},
		"no address":          {known, nil, []string{"number"}, "Error: No recipients defined", delivery.Permanent},
		"slash":               {known, nil, []string{"a/b"}, `Error: Value for argument "documentPath" must point to a document, but was "a/b". Your path does not contain an even number of components.`, delivery.Permanent},
		"slashes":             {known, nil, []string{"a//b"}, `Error: Value for argument "documentPath" is not a valid resource path. Paths must not contain //.`, delivery.Permanent},
		"reserved":            {known, []string{"a@b.test"}, []string{"__x__"}, `Error: 3 INVALID_ARGUMENT: Resource id "__x__" is invalid because it is reserved.`, delivery.Permanent},
		"injection":           {known, nil, []string{"evil"}, "Error: toUids has a line break or another control character in an address", delivery.Permanent},
		"injection in a map":  {known, nil, []string{"map"}, "Error: toUids has a line break or another control character in an address", delivery.Permanent},
		"own failure":         {usersFunc(func([]string) (map[string]any, error) { return nil, own }), nil, []string{"u"}, own.Message, delivery.Permanent},
		"other error":         {usersFunc(func([]string) (map[string]any, error) { return nil, errors.New("unreachable") }), nil, []string{"u"}, "Error: unreachable", delivery.Transient},
	} {
		f := mustFail(t, New(Options{}, tc.users, nil), with(func(d *delivery.Document) { d.To, d.ToUIDs = tc.to, tc.uids }))
		if f.Message != tc.want || f.Class != tc.class {
			t.Errorf("%s: %+v, want %q", name, f, tc.want)
		}
	}
	asked := usersFunc(func([]string) (map[string]any, error) { return nil, errors.New("asked for nothing") })
	mustCompose(t, New(Options{}, asked, nil), with(func(d *delivery.Document) { d.ToUIDs = []string{} }))
}
