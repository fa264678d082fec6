package firestored

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestGetDocument(t *testing.T) {
	r := newRig(t, Options{})
	stored := fields{"a": integer(1), "m": object(fields{"x": integer(1), "y": integer(2)}), "q.r": integer(3)}
	at := r.mustCommit(r.set("c/a", stored)).GetCommitTime()
	for name, test := range map[string]struct {
		mask []string // nil: none
		want fields
	}{
		"all":              {nil, stored},
		"no fields":        {[]string{}, fields{}},
		"some":             {[]string{"a", "none", "__name__"}, fields{"a": integer(1)}},
		"part of a map":    {[]string{"m.y"}, fields{"m": object(fields{"y": integer(2)})}},
		"a map and a part": {[]string{"m.y", "m"}, fields{"m": stored["m"]}},
		"a quoted name":    {[]string{"`q.r`"}, fields{"q.r": integer(3)}},
		"below no map":     {[]string{"a.b", "m.x.z"}, fields{}},
	} {
		request := &pb.GetDocumentRequest{Name: r.root + "/c/a"}
		if test.mask != nil {
			request.Mask = &pb.DocumentMask{FieldPaths: test.mask}
		}
		d, err := r.client.GetDocument(context.Background(), request)
		if !sameFields(d, test.want) || d.GetName() != r.root+"/c/a" || !proto.Equal(d.GetCreateTime(), at) || !proto.Equal(d.GetUpdateTime(), at) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
	_, err := r.client.GetDocument(context.Background(), &pb.GetDocumentRequest{Name: r.root + "/c/none"})
	if !refused(err, codes.NotFound, `Document "`+r.root+`/c/none" not found.`) {
		t.Errorf("what is not there: %v", err)
	}
}

// TestReadTimes has reads of the past: what was committed at the time is in it,
// what came later is not.
func TestReadTimes(t *testing.T) {
	r := newRig(t, Options{History: 5})
	var times []*timestamppb.Timestamp
	for i := range 4 {
		times = append(times, r.mustCommit(r.set("c/a", fields{"n": integer(i)})).GetCommitTime())
	}
	read := func(at *timestamppb.Timestamp) (*pb.Document, error) {
		return r.client.GetDocument(context.Background(), &pb.GetDocumentRequest{
			Name: r.root + "/c/a", ConsistencySelector: &pb.GetDocumentRequest_ReadTime{ReadTime: at},
		})
	}
	for i, at := range times {
		if d, err := read(at); !sameFields(d, fields{"n": integer(i)}) {
			t.Errorf("at commit %d: %v, %v", i, d, err)
		}
		before := timestamppb.New(at.AsTime().Add(-time.Microsecond))
		d, err := read(before)
		if i == 0 && !refused(err, codes.NotFound, "") || i > 0 && !sameFields(d, fields{"n": integer(i - 1)}) {
			t.Errorf("before commit %d: %v, %v", i, d, err)
		}
	}
	now := timestamp(r.db.now())
	for words, test := range map[string]struct {
		at   *timestamppb.Timestamp
		code codes.Code
	}{
		"read_time cannot be in the future.":                     {timestamppb.New(now.AsTime().Add(time.Hour)), codes.InvalidArgument},
		"timestamp cannot have more than microseconds precision": {timestamppb.New(now.AsTime().Add(time.Nanosecond)), codes.InvalidArgument},
		"The requested snapshot version is too old.":             {timestamppb.New(now.AsTime().Add(-time.Hour - time.Second)), codes.FailedPrecondition},
		"Invalid timestamp":                                      {&timestamppb.Timestamp{Nanos: -1}, codes.InvalidArgument},
	} {
		if _, err := read(test.at); !refused(err, test.code, words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
	r.mustCommit(r.set("c/b", nil), r.set("c/c", nil))
	if _, err := read(times[0]); err != nil {
		t.Errorf("at the beginning of the log: %v", err)
	}
	if _, err := read(timestamppb.New(times[0].AsTime().Add(-time.Microsecond))); !refused(err, codes.FailedPrecondition, "too old") {
		t.Errorf("before the log: %v", err)
	}
}

// TestReadAtATimeIsRepeatable: no later commit gets the time of a read.
func TestReadAtATimeIsRepeatable(t *testing.T) {
	db := newDatabase("projects/p/databases/d", 1000)
	for range 1000 {
		v, err := db.view(0)
		if err != nil {
			t.Fatal(err)
		}
		w := &write{path: "c/a", name: "c/a", names: &db.names}
		outcomes, at, err := db.commit([]*write{w}, func() error { return nil })
		if err != nil || at <= v.at || outcomes[0].next == nil {
			t.Fatalf("a commit at %d after a read at %d: %v", at, v.at, err)
		}
		if now := db.now(); now < at {
			t.Fatalf("now %d is before the commit at %d", now, at)
		}
		if _, _, err := db.commit([]*write{{path: "c/a", gone: true}}, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// TestViewBeyondTheLog refuses to read once it has missed a change.
func TestViewBeyondTheLog(t *testing.T) {
	r := newRig(t, Options{History: 3})
	r.mustCommit(r.set("c/a", nil))
	v, err := r.db.view(0)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []codes.Code{codes.OK, codes.OK, codes.OK, codes.FailedPrecondition} {
		r.mustCommit(r.set(fmt.Sprint("c/", i), nil))
		late := view{db: v.db, at: v.at, pos: v.pos, past: &past{pos: v.pos}} // it has not looked so far
		if _, err := late.documents([]string{"c/a"}); status.Code(err) != want {
			t.Errorf("after %d changes: %v", i+1, err)
		}
	}
	if _, err := v.documents([]string{"c/a"}); !refused(err, codes.FailedPrecondition, "too old") {
		t.Errorf("got %v", err)
	}
}

func TestBatchGetDocuments(t *testing.T) {
	r := newRig(t, Options{})
	at := r.mustCommit(r.set("c/a", fields{"a": integer(1), "b": integer(2)}), r.set("c/b", nil)).GetCommitTime()
	r.mustCommit(r.set("c/late", nil))
	ask := func(request *pb.BatchGetDocumentsRequest) (got []string, err error) {
		request.Database = r.name
		stream, err := r.client.BatchGetDocuments(context.Background(), request)
		if err != nil {
			return nil, err
		}
		for {
			answer, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return got, nil
			}
			if err != nil {
				return got, err
			}
			if answer.GetReadTime() == nil {
				t.Errorf("no read time: %v", answer)
			}
			found := answer.GetFound()
			got = append(got, fmt.Sprintf("%s%s %d", found.GetName(), answer.GetMissing(), len(found.GetFields())))
		}
	}
	names := []string{r.root + "/c/b", r.root + "/c/late", r.root + "/c/a", r.root + "/c/b"}
	got, err := ask(&pb.BatchGetDocumentsRequest{
		Documents: names, Mask: &pb.DocumentMask{FieldPaths: []string{"b"}},
		ConsistencySelector: &pb.BatchGetDocumentsRequest_ReadTime{ReadTime: at},
	})
	want := []string{r.root + "/c/b 0", r.root + "/c/late 0", r.root + "/c/a 1"}
	if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for words, name := range map[string]string{
		`lacks "/"`:              r.root + "/c",
		"is not in the database": "projects/q/databases/d/documents/c/a",
	} {
		if _, err := ask(&pb.BatchGetDocumentsRequest{Documents: []string{name}}); !refused(err, codes.InvalidArgument, words) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
