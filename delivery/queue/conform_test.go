package queue

import (
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"postrider/delivery"
	"postrider/delivery/deliverytest"
	"postrider/delivery/firestored"
)

// shelved is a collection in a server of the test's own, as an application has it.
type shelved struct {
	*stack
	t testing.TB
}

func (s shelved) Put(id string, f delivery.Fields) {
	s.t.Helper()
	fields, err := encodeFields(f, s.database)
	if err == nil {
		_, err = s.client.UpdateDocument(s.t.Context(), &pb.UpdateDocumentRequest{Document: &pb.Document{Name: s.mail.name(id), Fields: fields}})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s shelved) Get(id string) delivery.Fields {
	s.t.Helper()
	d, err := s.client.GetDocument(s.t.Context(), &pb.GetDocumentRequest{Name: s.mail.name(id)})
	if status.Code(err) == codes.NotFound {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return fieldsOf(d.GetFields())
}

func (s shelved) Delete(id string) {
	s.t.Helper()
	if err := s.client.DeleteDocument(s.t.Context(), &pb.DeleteDocumentRequest{Name: s.mail.name(id)}); err != nil {
		s.t.Fatal(err)
	}
}

func TestQueueConformsOnServerOfOurOwn(t *testing.T) {
	deliverytest.Conform(t, func(t *testing.T) deliverytest.Subject {
		s, stop := stacked(t, firestored.Options{})
		t.Cleanup(stop)
		return shelved{s, t}
	})
}

// renewing returns the change of an attempt that goes on until the hour is over.
func renewing(q *Queue) func(delivery.Record) delivery.Change {
	return func(r delivery.Record) delivery.Change { return r.Renewed(q.Now().Add(3600e9)) }
}

// An attempt whose lease is renewed reads nothing, and what was never answered
// costs one read.
func TestRenewalsCostNoRead(t *testing.T) {
	end := func(r delivery.Record) delivery.Change {
		return r.Ended(delivery.Attempt{Response: "250 ok"}, delivery.Policy{}, 0, noon)
	}
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	for name, c := range map[string]struct {
		answered bool
		reads    int64
	}{"answered": {true, 0}, "unanswered": {false, 1}} {
		shelved{s, t}.Put(name, delivery.Fields{"to": "a"})
		snap, err := s.Read(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		claim := delivery.Record{}.Claimed(delivery.Lease{ID: name, Expires: s.Now()}, delivery.Policy{}, s.Now())
		if snap, err = s.Apply(t.Context(), snap, claim); err != nil {
			t.Fatal(err)
		}
		before := s.server.Usage()
		for range 3 {
			after, err := s.Finish(t.Context(), snap, renewing(s.Queue))
			if err != nil {
				t.Fatal(err)
			}
			if !c.answered {
				break
			}
			snap = after
		}
		after, err := s.Finish(t.Context(), snap, end)
		if err != nil || delivery.ReadRecord(after.Fields).State != delivery.Success {
			t.Errorf("%s: %v, %v", name, after.Fields, err)
		}
		if got := s.server.Usage().Reads - before.Reads; got != c.reads {
			t.Errorf("%s: %d reads, want %d", name, got, c.reads)
		}
	}
}
