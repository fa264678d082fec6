package queue

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"postrider/delivery"
)

// Event reads a CloudEvent of Firestore's, as Eventarc sends it to a URL, and
// returns the mail document as the event has it. Found is false where there is
// nothing to do about the event: it is of another kind, of a document that is
// deleted, final by its state alone, or none of this mail collection's.
//
// The event is in binary mode (attributes in ce- headers, the body a
// google.events.cloud.firestore.v1.DocumentEventData in protobuf or JSON, by
// Content-Type), or in structured mode in JSON. Two departures are understood: the
// Pub/Sub message that carries an event, which Cloud Run passes on as it is where
// an attribute can't be a header, and protobuf in base64, which Google's emulator
// sends. The caller bounds the size of body.
//
// The error names the header or field that is wrong and quotes neither: what an
// event holds may be part of a mail.
func (q *Queue) Event(header http.Header, body []byte) (s delivery.Snapshot, found bool, err error) {
	e, err := readEvent(carried(header, body))
	if err != nil {
		return s, false, err
	}
	if !e.leavesDocument() {
		return s, false, nil
	}
	d, err := e.documentAfter()
	if d == nil || err != nil {
		return s, false, err
	}
	path, ok := pathOf(d.GetName())
	if !ok {
		return s, false, errors.New("value.name is missing, or not the name of a document")
	}
	if !e.names(path) {
		return s, false, fmt.Errorf("%sdocument and value.name name different documents", e.prefix)
	}
	if d.GetName() != q.mail.name(idOf(d.GetName())) || settled(d) {
		return s, false, nil
	}
	if d.GetUpdateTime().CheckValid() != nil {
		return s, false, errors.New("value.updateTime is missing, or not a time")
	}
	return snapshot(d), true, nil
}

// event is a CloudEvent 1.0: the attributes that matter here, and its data.
type event struct {
	prefix   string // of attributes' names where they are headers, for errors
	version  string
	kind     string // the attribute type
	document string // path of the document below the root, as it was sent; "" if not there
	media    string // of data
	data     []byte
}

const (
	mediaEvent    = "application/cloudevents+json"
	mediaJSON     = "application/json"
	mediaProtobuf = "application/protobuf"
)

// carried returns how to look up an event's attributes by the names they have as
// headers, and its body: the request's own, or where that is no event, those of
// the Pub/Sub message in it.
func carried(header http.Header, body []byte) (func(string) string, []byte) {
	var push struct {
		Message struct {
			Attributes map[string]string `json:"attributes"`
			Data       []byte            `json:"data"`
		} `json:"message"`
	}
	if header.Get("ce-type") != "" || json.Unmarshal(body, &push) != nil || push.Message.Attributes["ce-type"] == "" {
		return header.Get, body
	}
	attributes := push.Message.Attributes
	if attributes["content-type"] == "" {
		attributes["content-type"] = attributes["ce-datacontenttype"]
	}
	return func(name string) string { return attributes[name] }, push.Message.Data
}

// readEvent reads an event in either mode (CloudEvents HTTP binding 1.0.2 §3).
func readEvent(attribute func(string) string, body []byte) (event, error) {
	media, err := mediaType(attribute("content-type"))
	if err != nil {
		return event{}, errors.New("Content-Type is missing, or no media type")
	}
	e := event{
		prefix:   "ce-",
		version:  attribute("ce-specversion"),
		kind:     attribute("ce-type"),
		document: attribute("ce-document"),
		media:    media,
		data:     body,
	}
	if media == mediaEvent {
		if e, err = readStructured(body); err != nil {
			return event{}, err
		}
	}
	if e.version != "1.0" {
		return event{}, fmt.Errorf("%sspecversion is missing, or not 1.0", e.prefix)
	}
	if e.kind == "" {
		return event{}, fmt.Errorf("%stype is missing", e.prefix)
	}
	return e, nil
}

// readStructured reads an event that is all in its body (CloudEvents JSON
// format 1.0.2 §3).
func readStructured(body []byte) (event, error) {
	var fields struct {
		Version  string          `json:"specversion"`
		Kind     string          `json:"type"`
		Document string          `json:"document"`
		Media    string          `json:"datacontenttype"`
		Data     json.RawMessage `json:"data"`
		Base64   string          `json:"data_base64"`
	}
	if json.Unmarshal(body, &fields) != nil {
		return event{}, errors.New("body is not a CloudEvent in JSON")
	}
	e := event{version: fields.Version, kind: fields.Kind, document: fields.Document, media: mediaJSON, data: fields.Data}
	var err error
	if fields.Media != "" {
		if e.media, err = mediaType(fields.Media); err != nil {
			return event{}, errors.New("datacontenttype is no media type")
		}
	}
	if fields.Base64 != "" {
		if e.data, err = base64.StdEncoding.DecodeString(fields.Base64); err != nil {
			return event{}, errors.New("data_base64 is not base64")
		}
		return e, nil
	}
	var text string
	if e.media != mediaJSON && json.Unmarshal(fields.Data, &text) == nil {
		e.data = []byte(text)
	}
	return e, nil
}

// mediaType returns a media type without its parameters.
func mediaType(value string) (string, error) {
	media, _, err := mime.ParseMediaType(value)
	if errors.Is(err, mime.ErrInvalidMediaParameter) {
		err = nil
	}
	return media, err
}

// leavesDocument reports whether there is a document after what the event tells
// of (proto/google/events/cloud/firestore/v1/events.proto).
func (e event) leavesDocument() bool {
	kind, ours := strings.CutPrefix(strings.TrimSuffix(e.kind, ".withAuthContext"), "google.cloud.firestore.document.v1.")
	return ours && slices.Contains([]string{"created", "updated", "written"}, kind)
}

// names reports whether the attribute document, if there is one, names path. In
// a header it should be percent-encoded (CloudEvents HTTP binding 1.0.2 §3.1.3.2);
// Firestore and Google's emulator send it in UTF-8 as it is.
func (e event) names(path string) bool {
	if e.document == "" || e.document == path {
		return true
	}
	decoded, err := url.PathUnescape(e.document)
	return err == nil && decoded == path
}

// documentAfter returns the document as it was after the change; nil if there
// was none any more.
func (e event) documentAfter() (*pb.Document, error) {
	var value *pb.Document
	var before bool
	var err error
	switch e.media {
	case mediaProtobuf:
		value, before, err = decodeProtobuf(e.data)
	case mediaJSON:
		value, before, err = decodeJSON(e.data)
	default:
		field := "datacontenttype"
		if e.prefix != "" {
			field = "Content-Type"
		}
		err = fmt.Errorf("%s is neither %s nor %s", field, mediaProtobuf, mediaJSON)
	}
	if err == nil && value == nil && !before {
		err = errors.New("data has neither value nor oldValue")
	}
	return value, err
}

// maxDepth bounds how deep messages may be within each other. Firestore's limit
// is 20 maps and arrays, of up to three messages each.
const maxDepth = 100

// errData hides its cause, which would quote the document.
var errData = errors.New("data is not a DocumentEventData, or its value is not a document")

// decodeProtobuf reads a DocumentEventData: value is its field 1, old_value its
// field 2. Document and Value have the fields and numbers that they have in
// google.firestore.v1, whose code serves for them. An empty value is none.
func decodeProtobuf(data []byte) (value *pb.Document, before bool, err error) {
	options := proto.UnmarshalOptions{Merge: true, DiscardUnknown: true, RecursionLimit: maxDepth}
	for data = unwrapped(data); len(data) > 0; {
		number, kind, n := protowire.ConsumeField(data)
		if n < 0 {
			return nil, false, errData
		}
		field := data[:n]
		data = data[n:]
		if kind != protowire.BytesType || number > 2 {
			continue
		}
		_, _, tag := protowire.ConsumeTag(field)
		content, _ := protowire.ConsumeBytes(field[tag:])
		switch {
		case number == 2:
			before = true
		case len(content) > 0:
			if value == nil {
				value = &pb.Document{}
			}
			if options.Unmarshal(content, value) != nil {
				return nil, false, errData
			}
		}
	}
	return value, before, nil
}

// unwrapped returns what base64 text stands for, and anything else as it is. No
// field of an event has a tag that is a character of base64.
func unwrapped(data []byte) []byte {
	if len(data) == 0 || data[0] < '+' {
		return data
	}
	decoded, err := base64.StdEncoding.AppendDecode(nil, data)
	if err != nil {
		return data
	}
	return decoded
}

// decodeJSON reads a DocumentEventData in protobuf's JSON form. An empty value
// is none: some senders always write all fields.
func decodeJSON(data []byte) (value *pb.Document, before bool, err error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil {
		return nil, false, errData
	}
	before = !isEmpty(fields["oldValue"]) || !isEmpty(fields["old_value"])
	if isEmpty(fields["value"]) {
		return nil, before, nil
	}
	value = &pb.Document{}
	options := protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: maxDepth}
	if options.Unmarshal(fields["value"], value) != nil {
		return nil, false, errData
	}
	return value, before, nil
}

// isEmpty reports whether a field is not there, null or an object without fields.
func isEmpty(field json.RawMessage) bool {
	var fields map[string]json.RawMessage
	return len(field) == 0 || json.Unmarshal(field, &fields) == nil && len(fields) == 0
}

// pathOf returns the path below the root of the document with a resource name,
// and whether it is the name of a document.
func pathOf(name string) (string, bool) {
	parts := strings.SplitN(name, "/", 6)
	if len(parts) < 6 || parts[0] != "projects" || parts[2] != "databases" || parts[4] != "documents" {
		return "", false
	}
	path := strings.Split(parts[5], "/")
	return parts[5], len(path)%2 == 0 && !slices.Contains(path, "") && parts[1] != "" && parts[3] != ""
}
