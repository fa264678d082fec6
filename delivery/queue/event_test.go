package queue

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"postrider/delivery"
)

const eventRoot = "projects/demo-p/databases/(default)/documents"

// eventQueue returns a queue that reads events and can do nothing else.
func eventQueue(mail string) *Queue {
	return &Queue{mail: newCollection(eventRoot, mail)}
}

// headers returns headers from pairs of names and values; "" leaves one out.
func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			h.Set(pairs[i], pairs[i+1])
		}
	}
	return h
}

// binaryEvent returns the headers of an event in binary mode.
func binaryEvent(media, kind, document string) http.Header {
	return headers("Content-Type", media, "ce-specversion", "1.0", "ce-id", "1", "ce-source",
		"//firestore.googleapis.com/projects/demo-p/databases/(default)",
		"ce-type", "google.cloud.firestore.document.v1."+kind, "ce-document", document)
}

// sub returns a field that holds a message or a string.
func sub(number protowire.Number, content ...string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), strings.Join(content, "")))
}

// count returns a field that holds an integer.
func count(number protowire.Number, v uint64) string {
	return string(protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), v))
}

// double returns a field that holds a float64.
func double(number protowire.Number, v float64) string {
	b := protowire.AppendTag(nil, number, protowire.Fixed64Type)
	return string(binary.LittleEndian.AppendUint64(b, math.Float64bits(v)))
}

// entry returns a field of a document, by the numbers of
// google.events.cloud.firestore.v1: fields in Document have number 2, in
// MapValue number 1.
func entry(number protowire.Number, key, value string) string {
	return sub(number, sub(1, key), sub(2, value))
}

// eventTime is a time as google.protobuf.Timestamp.
var (
	eventAt   = time.Date(2026, 7, 5, 12, 0, 0, 123456000, time.UTC)
	eventTime = count(1, uint64(eventAt.Unix())) + count(2, uint64(eventAt.Nanosecond()))
)

// document returns a Document with a name and fields, in protobuf.
func document(name string, fields ...string) string {
	return sub(1, name) + strings.Join(fields, "") + sub(3, eventTime) + sub(4, eventTime)
}

// allTypes is a document with a value of every type, in protobuf and in JSON,
// and what it is for delivery.
var (
	allTypes = document(eventRoot+"/mail/m1",
		entry(2, "null", count(11, 0)),
		entry(2, "bool", count(1, 1)),
		entry(2, "int", count(2, 1<<53+1)),
		entry(2, "double", double(3, 1.5)),
		entry(2, "time", sub(10, eventTime)),
		entry(2, "string", sub(17, "hé")),
		entry(2, "bytes", sub(18, "\x00\xff")),
		entry(2, "reference", sub(5, eventRoot+"/users/u1")),
		entry(2, "point", sub(8, double(1, 1.5), double(2, -2))),
		entry(2, "list", sub(9, sub(1, sub(17, "x")), sub(1, count(2, 1)))),
		entry(2, "map", sub(6, entry(1, "subject", sub(17, "s")))),
	)

	allTypesJSON = `{
		"name": "` + eventRoot + `/mail/m1",
		"fields": {
			"null": {"nullValue": null}, "bool": {"booleanValue": true},
			"int": {"integerValue": "9007199254740993"}, "double": {"doubleValue": 1.5},
			"time": {"timestampValue": "2026-07-05T12:00:00.123456Z"}, "string": {"stringValue": "hé"},
			"bytes": {"bytesValue": "AP8="}, "reference": {"referenceValue": "` + eventRoot + `/users/u1"},
			"point": {"geoPointValue": {"latitude": 1.5, "longitude": -2}},
			"list": {"arrayValue": {"values": [{"stringValue": "x"}, {"integerValue": 1}]}},
			"map": {"mapValue": {"fields": {"subject": {"stringValue": "s"}}}}
		},
		"createTime": "2026-07-05T12:00:00.123456Z", "updateTime": "2026-07-05T12:00:00.123456Z",
		"ofANewerVersion": {"x": [1]}
	}`

	allTypesFields = delivery.Fields{
		"null": nil, "bool": true, "int": int64(1<<53 + 1), "double": 1.5, "time": eventAt, "string": "hé",
		"bytes": []byte{0, 255}, "reference": delivery.Reference{Path: "users/u1"},
		"point": delivery.GeoPoint{Latitude: 1.5, Longitude: -2},
		"list":  []any{"x", int64(1)}, "map": delivery.Fields{"subject": "s"},
	}
)

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

func TestEventsAreReadInEveryForm(t *testing.T) {
	old := document(eventRoot+"/mail/m1", entry(2, "string", sub(17, "before")))
	newer := allTypes + sub(15, "of a newer version")
	data := sub(1, newer) + sub(2, old) + sub(3, sub(1, "string")) + sub(9, "of a newer version")
	dataJSON := `{"value": ` + allTypesJSON + `, "oldValue": {}, "updateMask": {"fieldPaths": ["string"]}}`
	encoded := base64.StdEncoding.EncodeToString([]byte(data))
	structured := func(rest string) string {
		return `{"specversion": "1.0", "type": "google.cloud.firestore.document.v1.written", "id": "1", "document": "mail/m1", ` + rest + `}`
	}
	push := func(media, data string) string {
		return `{"message": {"attributes": {"ce-specversion": "1.0", "ce-type": "google.cloud.firestore.document.v1.written", "ce-document": "mail/m1", ` + media +
			`}, "data": "` + base64.StdEncoding.EncodeToString([]byte(data)) + `", "messageId": "1"}, "subscription": "projects/demo-p/subscriptions/s"}`
	}
	pushed := headers("Content-Type", "application/json")
	cases := map[string]struct {
		header http.Header
		body   string
	}{
		"protobuf":                     {binaryEvent("application/protobuf", "written", "mail/m1"), data},
		"protobuf, value after old":    {binaryEvent("application/protobuf", "updated", "mail/m1"), sub(2, old) + sub(1, allTypes)},
		"protobuf, value in parts":     {binaryEvent("application/protobuf", "updated", "mail/m1"), sub(1, newer[:len(sub(1, eventRoot+"/mail/m1"))]) + sub(1, newer[len(sub(1, eventRoot+"/mail/m1")):])},
		"protobuf with parameters":     {binaryEvent("Application/Protobuf; messageType=x", "created", "mail/m1"), data},
		"protobuf, parameters broken":  {binaryEvent("application/protobuf; =", "created", "mail/m1"), data},
		"protobuf in base64":           {binaryEvent("application/protobuf", "written", "mail/m1"), encoded},
		"protobuf in base64, line end": {binaryEvent("application/protobuf", "written", "mail/m1"), encoded + "\r\n"},
		"auth context":                 {binaryEvent("application/protobuf", "updated.withAuthContext", "mail/m1"), data},
		"no document attribute":        {binaryEvent("application/protobuf", "written", ""), data},
		"JSON":                         {binaryEvent("application/json; charset=utf-8", "written", "mail/m1"), dataJSON},
		"structured, JSON":             {headers("Content-Type", "application/cloudevents+json; charset=utf-8"), structured(`"data": ` + dataJSON)},
		"structured, JSON named":       {headers("Content-Type", "application/cloudevents+json"), structured(`"datacontenttype": "application/json", "data": ` + dataJSON)},
		"structured, JSON in base64":   {headers("Content-Type", "application/cloudevents+json"), structured(`"data_base64": "` + base64.StdEncoding.EncodeToString([]byte(dataJSON)) + `"`)},
		"Pub/Sub message":              {pushed, push(`"ce-datacontenttype": "application/protobuf"`, data)},
		"Pub/Sub message, JSON":        {pushed, push(`"content-type": "application/json", "ce-datacontenttype": "x/y"`, dataJSON)},
		"Pub/Sub message, structured":  {pushed, push(`"content-type": "application/cloudevents+json"`, structured(`"data": `+dataJSON))},
		"structured, protobuf":         {headers("Content-Type", "application/cloudevents+json"), structured(`"datacontenttype": "application/protobuf", "data_base64": "` + encoded + `"`)},
		"structured, protobuf as text": {headers("Content-Type", "application/cloudevents+json"), structured(`"datacontenttype": "application/protobuf", "data": ` + quoted(encoded))},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, found, err := eventQueue("mail").Event(c.header, []byte(c.body))
			if err != nil || !found {
				t.Fatalf("found %v, %v", found, err)
			}
			if s.ID != "m1" || !s.UpdateTime.Equal(eventAt) || !reflect.DeepEqual(s.Fields, allTypesFields) {
				t.Errorf("got %+v", s)
			}
			if s.Size != len(allTypes) {
				t.Errorf("size %d, want %d", s.Size, len(allTypes))
			}
		})
	}
}

// The bodies are what Google's emulator sent (cloud-firestore-emulator 1.19.9),
// started with --functions_emulator and told of a trigger by POST
// /emulator/v1/projects/demo-p/eventarcTrigger: base64 text in place of protobuf,
// and the document's path in UTF-8, not percent-encoded.
func TestEventsOfGooglesEmulatorAreRead(t *testing.T) {
	const (
		created = "CusBCjhwcm9qZWN0cy9kZW1vLXAvZGF0YWJhc2VzLyhkZWZhdWx0KS9kb2N1bWVudHMvbWFpbC9hIGLDqRIRCgJ0bxILigEIYUBiLnRlc3QSDgoBbhIJEIGAgICAgIAQEhIKAXQSDVILCICMxrEGEICU7zoSDAoBYhIHkgEEAAEC/xIZCgFnEhRCEgkAAAAAAAD4PxEAAAAAAAAAwBIICgJudRICWAASGgoBbRIVMhMKEQoHc3ViamVjdBIGigEDaMOpEg0KAWESCEoGCgSKAQF4GgwIo8CK2AYQiN61/gEiDAijwIrYBhCI3rX+ARoA"
		updated = "CmkKOHByb2plY3RzL2RlbW8tcC9kYXRhYmFzZXMvKGRlZmF1bHQpL2RvY3VtZW50cy9tYWlsL2EgYsOpEhEKAnRvEguKAQhjQGIudGVzdBoMCKPAitgGEIjetf4BIgwIpcCK2AYQ8KT/sgIS6wEKOHByb2plY3RzL2RlbW8tcC9kYXRhYmFzZXMvKGRlZmF1bHQpL2RvY3VtZW50cy9tYWlsL2EgYsOpEhEKAnRvEguKAQhhQGIudGVzdBIOCgFuEgkQgYCAgICAgBASEgoBdBINUgsIgIzGsQYQgJTvOhIMCgFiEgeSAQQAAQL/EhkKAWcSFEISCQAAAAAAAPg/EQAAAAAAAADAEggKAm51EgJYABIaCgFtEhUyEwoRCgdzdWJqZWN0EgaKAQNow6kSDQoBYRIISgYKBIoBAXgaDAijwIrYBhCI3rX+ASIMCKPAitgGEIjetf4BGgA="
		deleted = "EmkKOHByb2plY3RzL2RlbW8tcC9kYXRhYmFzZXMvKGRlZmF1bHQpL2RvY3VtZW50cy9tYWlsL2EgYsOpEhEKAnRvEguKAQhjQGIudGVzdBoMCKPAitgGEIjetf4BIgwIpcCK2AYQ8KT/sgIaAA=="
		empty   = "ClYKOHByb2plY3RzL2RlbW8tcC9kYXRhYmFzZXMvKGRlZmF1bHQpL2RvY3VtZW50cy9tYWlsL2VtcHR5GgwIpsCK2AYQiMrAwgIiDAimwIrYBhCIysDCAhoA"
	)
	at := func(s string) time.Time {
		parsed, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	cases := map[string]struct {
		document, body string
		found          bool
		fields         delivery.Fields
		updated        time.Time
	}{
		"created": {"mail/a bé", created, true, delivery.Fields{
			"to": "a@b.test", "n": int64(9007199254740993), "t": at("2024-05-01T00:00:00.123456Z"), "b": []byte{0, 1, 2, 255},
			"g": delivery.GeoPoint{Latitude: 1.5, Longitude: -2}, "nu": nil, "m": delivery.Fields{"subject": "hé"}, "a": []any{"x"},
		}, at("2026-11-22T07:56:19.533557Z")},
		"updated":        {"mail/a bé", updated, true, delivery.Fields{"to": "c@b.test"}, at("2026-11-22T07:56:21.643814Z")},
		"without fields": {"mail/empty", empty, true, delivery.Fields{}, at("2026-11-22T07:56:22.676341Z")},
		"deleted":        {"mail/a bé", deleted, false, nil, time.Time{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, found, err := eventQueue("mail").Event(binaryEvent("application/protobuf", "written", c.document), []byte(c.body))
			if err != nil || found != c.found {
				t.Fatalf("found %v, %v", found, err)
			}
			if !reflect.DeepEqual(s.Fields, c.fields) || !s.UpdateTime.Equal(c.updated) {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func TestEventsThatNeedNothingAreLeftAlone(t *testing.T) {
	state := func(s string, rest ...string) string {
		return entry(2, "delivery", sub(6, entry(1, "state", sub(17, s)), strings.Join(rest, "")))
	}
	value := func(path string, fields ...string) string { return sub(1, document(eventRoot+path, fields...)) }
	cases := map[string]struct{ kind, body string }{
		"deleted":               {"deleted", sub(2, allTypes)},
		"deleted, unreadable":   {"deleted", "{"},
		"written: deleted":      {"written", sub(2, allTypes) + sub(3, "")},
		"empty value":           {"written", sub(1, "") + sub(2, allTypes)},
		"another kind":          {"archived", sub(1, allTypes)},
		"only like our kind":    {"written.withMore", sub(1, allTypes)},
		"another collection":    {"written", value("/users/m1")},
		"longer name":           {"written", value("/mail2/m1")},
		"subcollection":         {"written", value("/mail/m1/mail/m2")},
		"same name deeper":      {"written", value("/tenants/t1/mail/m1")},
		"another database":      {"written", sub(1, document("projects/demo-p/databases/other/documents/mail/m1"))},
		"another project":       {"written", sub(1, document("projects/demo-q/databases/(default)/documents/mail/m1"))},
		"a project by our name": {"written", sub(1, document("projects/documents/databases/(default)/documents/mail/m1"))},
		"sent":                  {"updated", value("/mail/m1", state("SUCCESS"))},
		"failed":                {"updated", value("/mail/m1", state("ERROR"))},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, found, err := eventQueue("mail").Event(binaryEvent("application/protobuf", c.kind, ""), []byte(c.body))
			if err != nil || found || s.ID != "" {
				t.Errorf("got %+v, found %v, %v", s, found, err)
			}
		})
	}
	t.Run("of another product", func(t *testing.T) {
		h := headers("Content-Type", "text/plain", "ce-specversion", "1.0", "ce-type", "google.cloud.datastore.entity.v1.written")
		if _, found, err := eventQueue("mail").Event(h, nil); found || err != nil {
			t.Errorf("found %v, %v", found, err)
		}
	})
	t.Run("JSON without a value", func(t *testing.T) {
		for _, body := range []string{`{"oldValue": ` + allTypesJSON + `}`, `{"value": {}, "oldValue": ` + allTypesJSON + `}`, `{"value": null, "old_value": ` + allTypesJSON + `}`} {
			if _, found, err := eventQueue("mail").Event(binaryEvent("application/json", "written", "mail/m1"), []byte(body)); found || err != nil {
				t.Errorf("%s: found %v, %v", body[:12], found, err)
			}
		}
	})
}

func TestEventsOfWaitingDocumentsAreFound(t *testing.T) {
	for _, fields := range []string{
		"",
		entry(2, "delivery", sub(6, entry(1, "state", sub(17, "RETRY")))),
		entry(2, "delivery", sub(6, entry(1, "state", sub(17, "ERROR")),
			entry(1, "outcome", sub(6, entry(1, "class", sub(17, "incomplete")))))),
	} {
		body := sub(1, document(eventRoot+"/mail/m1", fields))
		if _, found, err := eventQueue("mail").Event(binaryEvent("application/protobuf", "updated", ""), []byte(body)); !found || err != nil {
			t.Errorf("%q: found %v, %v", fields, found, err)
		}
	}
}

func TestEventsOfANestedCollectionAreFound(t *testing.T) {
	q := eventQueue("tenants/t1/outbox")
	for path, want := range map[string]bool{"/tenants/t1/outbox/m1": true, "/tenants/t2/outbox/m1": false, "/outbox/m1": false, "/tenants/t1": false} {
		body := sub(1, document(eventRoot+path))
		if _, found, err := q.Event(binaryEvent("application/protobuf", "created", path[1:]), []byte(body)); found != want || err != nil {
			t.Errorf("%s: found %v, %v", path, found, err)
		}
	}
}

func TestAnEventNamesOneDocument(t *testing.T) {
	cases := map[string]struct {
		id, attribute string
		ok            bool
	}{
		"plain":                     {"m1", "mail/m1", true},
		"percent-encoded":           {"a bé%", "mail/a%20b%C3%A9%25", true},
		"not encoded":               {"a bé%", "mail/a bé%", true},
		"not encoded, looks as if":  {"50%25", "mail/50%25", true},
		"encoded, would decode on":  {"50%25", "mail/50%2525", true},
		"plus is no space":          {"a b", "mail/a+b", false},
		"another document":          {"m1", "mail/m2", false},
		"another collection":        {"m1", "users/m1", false},
		"another case":              {"m1", "mail/M1", false},
		"encoding broken, not same": {"m1", "mail/m%1", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			body := sub(1, document(eventRoot+"/mail/"+c.id))
			s, found, err := eventQueue("mail").Event(binaryEvent("application/protobuf", "created", c.attribute), []byte(body))
			if found != c.ok || (err == nil) != c.ok {
				t.Fatalf("found %v, %v", found, err)
			}
			if c.ok && s.ID != c.id {
				t.Errorf("ID %q", s.ID)
			}
			if !c.ok && !strings.HasPrefix(err.Error(), "ce-document ") {
				t.Errorf("%v does not name the header", err)
			}
		})
	}
}

// Each error names the field, and no content: it is logged.
func TestErrorsOfEventsNameTheFieldAndNothingElse(t *testing.T) {
	secret := entry(2, "to", sub(17, "secret@person.test"))
	named := func(name string) string { return sub(1, document(name, secret)) }
	good := named(eventRoot + "/mail/m1")
	kind := "google.cloud.firestore.document.v1.written"
	structured := headers("Content-Type", "application/cloudevents+json")
	deep := sub(17, "secret")
	deepJSON := `{"stringValue": "secret"}`
	for range 60 {
		deep = sub(6, entry(1, "x", deep))
		deepJSON = `{"mapValue": {"fields": {"x": ` + deepJSON + `}}}`
	}
	cases := map[string]struct {
		header http.Header
		body   string
		want   string // what the error begins with
	}{
		"no content type":        {binaryEvent("", "written", ""), good, "Content-Type "},
		"content type broken":    {binaryEvent("secret/", "written", ""), good, "Content-Type "},
		"content type unknown":   {binaryEvent("text/secret", "written", ""), good, "Content-Type "},
		"a batch":                {headers("Content-Type", "application/cloudevents-batch+json"), "[]", "ce-specversion "},
		"no version":             {headers("Content-Type", "application/protobuf", "ce-type", kind), good, "ce-specversion "},
		"older version":          {headers("Content-Type", "application/protobuf", "ce-type", kind, "ce-specversion", "0.3"), good, "ce-specversion "},
		"no type":                {headers("Content-Type", "application/protobuf", "ce-specversion", "1.0"), good, "ce-type "},
		"no data":                {binaryEvent("application/protobuf", "written", ""), "", "data "},
		"only a mask":            {binaryEvent("application/protobuf", "written", ""), sub(3, ""), "data "},
		"no data in JSON":        {binaryEvent("application/json", "written", ""), `{"value": {}, "oldValue": {}}`, "data "},
		"protobuf cut off":       {binaryEvent("application/protobuf", "written", ""), good[:len(good)-1], "data "},
		"protobuf of base64 cut": {binaryEvent("application/protobuf", "written", ""), base64.StdEncoding.EncodeToString([]byte(good))[:41], "data "},
		"old value no message":   {binaryEvent("application/protobuf", "written", ""), count(2, 1), "data "},
		"value no message":       {binaryEvent("application/protobuf", "written", ""), sub(1, "secret"), "data "},
		"JSON for protobuf":      {binaryEvent("application/protobuf", "written", ""), `{"value": {"name": "secret"}}`, "data "},
		"protobuf for JSON":      {binaryEvent("application/json", "written", ""), good, "data "},
		"JSON no object":         {binaryEvent("application/json", "written", ""), `["secret"]`, "data "},
		"JSON number wrong":      {binaryEvent("application/json", "written", ""), `{"value": {"fields": {"to": {"integerValue": "secret@person.test"}}}}`, "data "},
		"JSON type wrong":        {binaryEvent("application/json", "written", ""), `{"value": "secret@person.test"}`, "data "},
		"too deep":               {binaryEvent("application/protobuf", "written", ""), sub(1, document(eventRoot+"/mail/m1", entry(2, "x", deep))), "data "},
		"too deep in JSON":       {binaryEvent("application/json", "written", ""), `{"value": {"name": "` + eventRoot + `/mail/m1", "fields": {"x": ` + deepJSON + `}, "updateTime": "2026-07-05T12:00:00Z"}}`, "data "},
		"no name":                {binaryEvent("application/protobuf", "written", ""), sub(1, secret+sub(4, eventTime)), "value.name "},
		"name no document's":     {binaryEvent("application/protobuf", "written", ""), named(eventRoot + "/mail"), "value.name "},
		"name a path":            {binaryEvent("application/protobuf", "written", ""), named("mail/m1"), "value.name "},
		"name of no ID":          {binaryEvent("application/protobuf", "written", ""), named(eventRoot + "/mail/"), "value.name "},
		"name with a gap":        {binaryEvent("application/protobuf", "written", ""), named(eventRoot + "//m1"), "value.name "},
		"name of no project":     {binaryEvent("application/protobuf", "written", ""), named("projects//databases/d/documents/mail/m1"), "value.name "},
		"name of no database":    {binaryEvent("application/protobuf", "written", ""), named("projects/p/instances/d/documents/mail/m1"), "value.name "},
		"name of something else": {binaryEvent("application/protobuf", "written", ""), named("projects/p/databases/d/indexes/mail/m1"), "value.name "},
		"no update time":         {binaryEvent("application/protobuf", "written", ""), sub(1, sub(1, eventRoot+"/mail/m1")+secret), "value.updateTime "},
		"update time wrong":      {binaryEvent("application/protobuf", "written", ""), sub(1, sub(1, eventRoot+"/mail/m1")+secret+sub(4, count(2, 2e9))), "value.updateTime "},
		"a Pub/Sub message":      {headers("Content-Type", "application/json"), `{"message": {"data": "c2VjcmV0"}}`, "ce-specversion "},
		"a message of no media":  {headers("Content-Type", "application/json"), `{"message": {"attributes": {"ce-type": "secret"}}}`, "Content-Type "},
		"a message too old":      {headers("Content-Type", "application/json"), `{"message": {"attributes": {"ce-type": "secret", "content-type": "application/json"}}}`, "ce-specversion "},
		"structured, no JSON":    {structured, "secret", "body "},
		"structured, empty":      {structured, "{}", "specversion "},
		"structured, no type":    {structured, `{"specversion": "1.0"}`, "type "},
		"structured, type wrong": {structured, `{"specversion": "1.0", "type": ["secret"]}`, "body "},
		"structured, media":      {structured, `{"specversion": "1.0", "type": "` + kind + `", "datacontenttype": "secret/"}`, "datacontenttype "},
		"structured, text":       {structured, `{"specversion": "1.0", "type": "` + kind + `", "datacontenttype": "text/secret"}`, "datacontenttype "},
		"structured, base64":     {structured, `{"specversion": "1.0", "type": "` + kind + `", "data_base64": "secret!"}`, "data_base64 "},
		"structured, JSON text":  {structured, `{"specversion": "1.0", "type": "` + kind + `", "data": ` + quoted(`{"value": `+allTypesJSON+`}`) + `}`, "data "},
		"structured, no data":    {structured, `{"specversion": "1.0", "type": "` + kind + `"}`, "data "},
		"structured, document":   {structured, `{"specversion": "1.0", "type": "` + kind + `", "document": "mail/secret", "data": {"value": ` + allTypesJSON + `}}`, "document "},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, found, err := eventQueue("mail").Event(c.header, []byte(c.body))
			if found || s.ID != "" || err == nil {
				t.Fatalf("got %+v, found %v, %v", s, found, err)
			}
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%q does not begin with %q", err, c.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q quotes the event", err)
			}
		})
	}
}

// Cloud Run passes on the Pub/Sub message where the ID can't be in a header.
func TestEventsOfIDsThatNoHeaderTakesAreRead(t *testing.T) {
	for _, id := range []string{"ends in a space ", "two\nlines", "m1"} {
		body, err := json.Marshal(map[string]any{"message": map[string]any{
			"attributes": map[string]string{
				"ce-specversion": "1.0", "ce-type": "google.cloud.firestore.document.v1.created",
				"ce-document": "mail/" + id, "ce-datacontenttype": "application/protobuf",
			},
			"data": []byte(sub(1, document(eventRoot+"/mail/"+id))),
		}})
		if err != nil {
			t.Fatal(err)
		}
		s, found, err := eventQueue("mail").Event(headers("Content-Type", "application/json"), body)
		if err != nil || !found || s.ID != id {
			t.Errorf("%q: got %+v, found %v, %v", id, s, found, err)
		}
		// The message is believed only where there is no event around it.
		_, found, err = eventQueue("mail").Event(binaryEvent("application/json", "created", ""), body)
		if err == nil || found {
			t.Errorf("%q in an event: found %v, %v", id, found, err)
		}
	}
}

// Firestore's deepest document is read: 20 maps within each other.
func TestEventsOfDeepDocumentsAreRead(t *testing.T) {
	deep, deepJSON := sub(10, eventTime), `{"timestampValue": "2026-07-05T12:00:00Z"}`
	for range 20 {
		deep = sub(6, entry(1, "x", deep))
		deepJSON = `{"mapValue": {"fields": {"x": ` + deepJSON + `}}}`
	}
	for media, body := range map[string]string{
		"application/protobuf": sub(1, document(eventRoot+"/mail/m1", entry(2, "x", deep))),
		"application/json":     `{"value": {"name": "` + eventRoot + `/mail/m1", "fields": {"x": ` + deepJSON + `}, "updateTime": "2026-07-05T12:00:00Z"}}`,
	} {
		if _, found, err := eventQueue("mail").Event(binaryEvent(media, "created", ""), []byte(body)); !found || err != nil {
			t.Errorf("%s: found %v, %v", media, found, err)
		}
	}
}

// Whatever comes, what is returned is a document of the mail collection. With a
// name the body is made of it, so that the names are tried and not the wrapping.
func FuzzEvent(f *testing.F) {
	kind := "google.cloud.firestore.document.v1.written"
	value := sub(1, allTypes)
	for _, body := range []string{
		value, base64.StdEncoding.EncodeToString([]byte(value)), `{"value": ` + allTypesJSON + `}`, sub(2, allTypes), "", "{}",
		`{"specversion": "1.0", "type": "` + kind + `", "data": {"value": ` + allTypesJSON + `}}`,
		`{"message": {"attributes": {"ce-specversion": "1.0", "ce-type": "` + kind + `", "content-type": "application/protobuf"}, "data": "CgA="}}`,
		`{"specversion": "1.0", "type": "` + kind + `", "datacontenttype": "application/protobuf", "data_base64": "CgA="}`,
	} {
		for _, media := range []string{"application/protobuf", "application/json", "application/cloudevents+json"} {
			f.Add(media, kind, "mail/m1", "", []byte(body))
			f.Add(media, "", "", "", []byte(body))
		}
	}
	for _, name := range []string{
		eventRoot + "/mail/m1", eventRoot + "/mail/", eventRoot + "/mail/a/mail/b", eventRoot + "/mail2/m1", "mail/m1",
		"projects/demo-p/databases/(default)/documents/documents/mail/m1", eventRoot + "/../mail/m1", eventRoot + "/mail/%2F",
	} {
		f.Add("application/protobuf", kind+".withAuthContext", "", name, []byte{})
	}
	f.Fuzz(func(t *testing.T, media, kind, attribute, name string, body []byte) {
		q := eventQueue("mail")
		if name != "" {
			body = []byte(sub(1, document(name)))
		}
		h := headers("Content-Type", media, "ce-specversion", "1.0", "ce-type", kind, "ce-document", attribute)
		s, found, err := q.Event(h, body)
		if found && err != nil || !found && s.ID != "" {
			t.Fatalf("got %+v, found %v, %v", s, found, err)
		}
		if !found {
			return
		}
		if s.ID == "" || strings.Contains(s.ID, "/") || s.UpdateTime.IsZero() || s.Fields == nil {
			t.Errorf("found %+v", s)
		}
		if name != "" && media == mediaProtobuf && name != q.mail.name(s.ID) {
			t.Errorf("%q was found as %q", name, s.ID)
		}
	})
}
