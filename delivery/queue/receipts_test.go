package queue

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"postrider/delivery"
	"postrider/delivery/firestored"
)

// read returns a receipt's fields.
func read(minute int, who string) delivery.Fields {
	return delivery.Fields{"readOn": noon.Add(time.Duration(minute) * time.Minute), "recipient": who}
}

func (s *stack) addReceipt(t *testing.T, mail, id string, f delivery.Fields) {
	t.Helper()
	if err := s.AddReceipt(t.Context(), mail, id, f); err != nil {
		t.Fatal(err)
	}
}

// page returns who has read a mail, by one page.
func (s *stack) page(t *testing.T, mail string, skip, limit int) (who []string, more bool) {
	t.Helper()
	list, more, err := s.Receipts(t.Context(), mail, skip, limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		who = append(who, f["recipient"].(string))
	}
	return who, more
}

func TestReceiptsComeInTheOrderOfReading(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	for id, f := range map[string]delivery.Fields{"r1": read(5, "e"), "r2": read(1, "b"), "r3": read(1, "c"), "r4": read(0, "a"), "r0": read(2, "d")} {
		s.addReceipt(t, "m1", id, f)
	}
	s.addReceipt(t, "m2", "r1", read(0, "z"))
	for _, c := range []struct {
		skip, limit int
		want        string
		more        bool
	}{
		{0, 100, "abcde", false},
		{0, 5, "abcde", false},
		{0, 4, "abcd", true},
		{1, 1, "b", true},
		{2, 2, "cd", true},
		{3, 2, "de", false},
		{5, 2, "", false},
		{1 << 30, 100, "", false},
	} {
		who, more := s.page(t, "m1", c.skip, c.limit)
		if strings.Join(who, "") != c.want || more != c.more {
			t.Errorf("skip %d, limit %d: %v, more %v", c.skip, c.limit, who, more)
		}
	}
	if who, more := s.page(t, "m3", 0, 5); who != nil || more {
		t.Errorf("nobody has read this: %v, %v", who, more)
	}
}

func TestFirstReceiptOfSeveralStays(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	before := s.server.Usage()
	s.addReceipt(t, "m1", "r1", read(1, "first"))
	if after := s.server.Usage(); after.Requests != before.Requests+1 || after.Writes != before.Writes+1 || after.Reads != before.Reads {
		t.Errorf("a receipt costs %+v, and before it %+v", after, before)
	}
	s.addReceipt(t, "m1", "r1", read(0, "second"))
	if who, _ := s.page(t, "m1", 0, 5); !slices.Equal(who, []string{"first"}) {
		t.Errorf("%v", who)
	}
}

// A name with a slash would be that of a document somewhere else.
func TestReceiptsAreOfMailsOnly(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	for _, id := range []string{"", "m1/receipts/r1", "__m__", ".."} {
		if err := s.AddReceipt(t.Context(), id, "r1", read(0, "a")); !errors.Is(err, delivery.ErrGone) {
			t.Errorf("%q: %v", id, err)
		}
		if _, _, err := s.Receipts(t.Context(), id, 0, 1); !errors.Is(err, delivery.ErrGone) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestReceiptThatFirestoreDoesNotTakeIsAnError(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	refuse := func(c codes.Code) {
		s.server.SetFaults(firestored.Faults{
			Call:   func(string, any) firestored.CallFault { return firestored.CallFault{Refuse: c} },
			Stream: func(string, int) firestored.StreamFault { return firestored.StreamFault{Cut: c} },
		})
	}
	refuse(codes.PermissionDenied)
	if err := s.AddReceipt(t.Context(), "m1", "r1", read(0, "a")); err == nil || !strings.Contains(err.Error(), "roles/datastore.user") {
		t.Error(err)
	}
	if _, _, err := s.Receipts(t.Context(), "m1", 0, 1); err == nil || !strings.Contains(err.Error(), "roles/datastore.user") {
		t.Error(err)
	}
	refuse(codes.FailedPrecondition)
	if _, err := s.ByMessageID(t.Context(), "<a@b>"); err == nil || errors.Is(err, delivery.ErrGone) || !strings.Contains(err.Error(), "firestore.indexes.json") {
		t.Error(err)
	}
}

func TestMailIsFoundByItsMessageID(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	shelf := shelved{s, t}
	sent := func(id string) delivery.Fields {
		return delivery.Fields{"to": "a", "delivery": delivery.Fields{"state": "SUCCESS", "info": delivery.Fields{"messageId": id}}}
	}
	shelf.Put("bracketed", sent("<x@y>"))
	shelf.Put("bare", sent("own@y"))
	shelf.Put("new", delivery.Fields{"to": "a"})
	for i := range maxSameID + 1 {
		shelf.Put(fmt.Sprint("same", i), sent("<same@y>"))
	}
	for _, c := range []struct {
		id, want string
		n        int
	}{{"<x@y>", "bracketed", 1}, {"x@y", "bracketed", 1}, {"<own@y>", "bare", 1}, {"<same@y>", "same0", maxSameID}} {
		got, err := s.ByMessageID(t.Context(), c.id)
		if err != nil || len(got) != c.n || got[0].ID != c.want {
			t.Errorf("%s: %v, %v", c.id, got, err)
			continue
		}
		if f := got[0].Fields; len(f) != 1 || f["delivery"].(delivery.Fields)["state"] != "SUCCESS" {
			t.Errorf("%s: %v", c.id, f)
		}
	}
	if got, err := s.ByMessageID(t.Context(), "<another@y>"); !errors.Is(err, delivery.ErrGone) {
		t.Errorf("%v, %v", got, err)
	}
}

// A receipt is in the same branch of the database as mails, and none of them.
func TestReceiptsAreNoMails(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	asks := delivery.Fields{"open": true}
	shelved{s, t}.Put("m1", delivery.Fields{"to": "a", "receipts": asks})
	s.addReceipt(t, "m1", "r1", read(0, "a"))
	var found []string
	err := s.Scan(t.Context(), func(_ context.Context, d delivery.Snapshot) error {
		found = append(found, d.ID)
		if !reflect.DeepEqual(d.Fields["receipts"], asks) {
			t.Errorf("what the mail asks for is not read: %v", d.Fields)
		}
		return nil
	})
	if err != nil || !slices.Equal(found, []string{"m1"}) {
		t.Errorf("scanned %v, %v", found, err)
	}
	d, err := s.client.GetDocument(t.Context(), &pb.GetDocumentRequest{Name: s.receipts("m1").name("r1")})
	if err != nil {
		t.Fatal(err)
	}
	value, err := proto.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	for name, v := range map[string]string{
		"ce-specversion": "1.0", "ce-type": "google.cloud.firestore.document.v1.created", "Content-Type": "application/protobuf",
		"ce-document": "tenants/t1/mail/m1/receipts/r1",
	} {
		header.Set(name, v)
	}
	body := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), value)
	if got, mail, err := s.Event(header, body); mail || err != nil {
		t.Errorf("an event of a receipt: %v, %v, %v", got, mail, err)
	}
}

// The watch is told of a mail that comes after a receipt, and of nothing before it.
func TestWatchIsNotToldOfReceipts(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watching, found := make(chan struct{}), make(chan string, 4)
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(ctx, listening{watching: watching, found: found}) }()
	<-watching
	s.addReceipt(t, "m1", "r1", read(0, "a"))
	shelved{s, t}.Put("m2", delivery.Fields{"to": "a"})
	if id := <-found; id != "m2" {
		t.Errorf("told of %s", id)
	}
	cancel()
	<-ended
}

// listening passes on the IDs that a watch tells of.
type listening struct {
	watching chan struct{}
	found    chan string
}

func (l listening) Watching(err error) {
	if err == nil {
		close(l.watching)
	}
}

func (l listening) Missed(settled func()) { settled() }

func (l listening) Found(_ context.Context, s delivery.Snapshot, settled func()) error {
	settled()
	l.found <- s.ID
	return nil
}

func TestAReceiptIsGivenUpInTimeHoweverManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := stacked(t, firestored.Options{})
		defer stop()
		faulty(s, "BatchWrite", always(firestored.CallFault{Delay: time.Minute}))
		var group sync.WaitGroup
		defer group.Wait()
		for i := range 50 {
			group.Go(func() {
				// Of these no two go together.
				_ = s.Create(t.Context(), strconv.Itoa(i), delivery.Fields{"to": strings.Repeat("x", 900<<10)})
			})
		}
		synctest.Wait()
		began := time.Now()
		err := s.AddReceipt(t.Context(), "a", "r", delivery.Fields{})
		if took := time.Since(began); err == nil || took > callTimeout {
			t.Errorf("%v after %v", err, took)
		}
	})
}
