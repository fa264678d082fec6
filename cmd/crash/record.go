package main

import (
	"fmt"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// States, classes and phases that the verdict tells apart, in their stored
// spelling (see the README). They are not imported: what is judged here does not
// bring its own measure.
const (
	stateSuccess = "SUCCESS"
	stateError   = "ERROR"
	classUnknown = "unknown"
	phaseLease   = "lease"
)

// record is a document's delivery field as the harness sees it.
type record struct {
	state    string // "" if there is none
	class    string
	phase    string
	err      string
	attempts int64
	lease    time.Time // its end; zero if there is none
	updated  time.Time
}

func (r record) final() bool   { return r.state == stateSuccess || r.state == stateError }
func (r record) lapsed() bool  { return r.state == stateError && r.phase == phaseLease }
func (r record) unknown() bool { return r.state == stateError && r.class == classUnknown }

// String returns the record in one line.
func (r record) String() string {
	return fmt.Sprintf("state=%q class=%q phase=%q attempts=%d lease=%s error=%q",
		r.state, r.class, r.phase, r.attempts, r.lease.Format("15:04:05.000"), r.err)
}

func recordOf(d *pb.Document) record {
	delivery := d.GetFields()["delivery"].GetMapValue().GetFields()
	outcome := delivery["outcome"].GetMapValue().GetFields()
	r := record{
		state:    delivery["state"].GetStringValue(),
		class:    outcome["class"].GetStringValue(),
		phase:    outcome["phase"].GetStringValue(),
		err:      delivery["error"].GetStringValue(),
		attempts: delivery["attempts"].GetIntegerValue(),
		updated:  d.GetUpdateTime().AsTime(),
	}
	if t := delivery["leaseExpireTime"].GetTimestampValue(); t != nil {
		r.lease = t.AsTime()
	}
	return r
}

// docID returns the ID of the nth document.
func docID(n int) string { return fmt.Sprintf("d%06d", n) }

// recipients returns the addresses of the nth document's mail: every tenth has
// two.
func recipients(n int) []string {
	all := []string{"a." + docID(n) + "@rcpt.test"}
	if n%10 == 0 {
		all = append(all, "b."+docID(n)+"@rcpt.test")
	}
	return all
}

// parseAddress returns the document of an address, and whether it is its first.
func parseAddress(address string) (first bool, doc string) {
	local, _, _ := strings.Cut(address, "@")
	which, doc, _ := strings.Cut(local, ".")
	return which == "a", doc
}

// mailFields returns the nth document's fields.
func mailFields(n int) map[string]*pb.Value {
	text := func(s string) *pb.Value { return &pb.Value{ValueType: &pb.Value_StringValue{StringValue: s}} }
	to := &pb.ArrayValue{}
	for _, address := range recipients(n) {
		to.Values = append(to.Values, text(address))
	}
	return map[string]*pb.Value{
		"to": {ValueType: &pb.Value_ArrayValue{ArrayValue: to}},
		"message": {ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: map[string]*pb.Value{
			"subject": text("crash " + docID(n)), "text": text("It is on its way.\r\n"),
		}}}},
	}
}
