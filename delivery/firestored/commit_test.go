package firestored

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

func TestCommitIsAllOrNothing(t *testing.T) {
	r := newRig(t, Options{})
	r.mustCommit(r.set("c/there", fields{"n": integer(1)}))
	pos := r.db.position()
	_, err := r.commit(
		r.set("c/new", nil), r.update("c/there", fields{"n": integer(2)}, "n"),
		ifExists(r.set("c/none", nil), true), r.remove("c/there"))
	if !refused(err, codes.NotFound, "No document to update: "+r.root+"/c/none") {
		t.Errorf("got %v", err)
	}
	if r.get("c/new") != nil || !sameFields(r.get("c/there"), fields{"n": integer(1)}) || r.db.position() != pos {
		t.Error("a part was applied")
	}
}

// TestCommitSeesItsOwnWrites has several writes to one document: each is applied
// to what those before have made.
func TestCommitSeesItsOwnWrites(t *testing.T) {
	r := newRig(t, Options{})
	r.mustCommit(r.set("c/gone", nil))
	pos := r.db.position()
	response := r.mustCommit(
		ifExists(r.set("c/a", fields{"n": integer(1)}), false),
		r.transform("c/a", increment("n", integer(5))),
		ifExists(r.update("c/a", fields{"m": integer(2)}, "m"), true),
		r.remove("c/gone"),
		ifExists(r.set("c/gone", fields{"again": boolean(true)}), false),
		r.set("c/brief", nil),
		r.remove("c/brief"))
	if d := r.get("c/a"); !sameFields(d, fields{"n": integer(6), "m": integer(2)}) {
		t.Errorf("got %v", d)
	}
	for i, result := range response.GetWriteResults() {
		if deleted := i == 3 || i == 6; deleted != (result.GetUpdateTime() == nil) || !deleted && !proto.Equal(result.GetUpdateTime(), response.GetCommitTime()) {
			t.Errorf("result %d: %v, want %v", i, result, response.GetCommitTime())
		}
	}
	d := r.get("c/gone")
	if !sameFields(d, fields{"again": boolean(true)}) || !proto.Equal(d.GetCreateTime(), response.GetCommitTime()) {
		t.Errorf("what was made again: %v", d)
	}
	changes, _, _ := r.db.since(pos, 100)
	var paths []string
	for _, c := range changes {
		paths = append(paths, c.path)
		if at := response.GetCommitTime().AsTime().UnixMicro(); c.at != at {
			t.Errorf("the change of %s is of %d, want %d", c.path, c.at, at)
		}
	}
	if want := []string{"c/a", "c/gone"}; !slices.Equal(paths, want) {
		t.Errorf("logged %v, want %v", paths, want)
	}
}

func TestTimesOfDocuments(t *testing.T) {
	r := newRig(t, Options{})
	var last int64
	for i := range 1000 {
		response := r.mustCommit(r.set("c/a", fields{"n": integer(i)}))
		at := response.GetCommitTime().AsTime().UnixMicro()
		if at <= last || response.GetCommitTime().GetNanos()%1000 != 0 {
			t.Fatalf("commit %d is of %v, the one before of %d", i, response.GetCommitTime(), last)
		}
		last = at
	}
	first := r.mustCommit(r.remove("c/a"), r.set("c/b", nil)).GetCommitTime()
	second := r.mustCommit(r.set("c/a", nil), r.set("c/b", fields{"x": null()})).GetCommitTime()
	if d := r.get("c/a"); !proto.Equal(d.GetCreateTime(), second) || !proto.Equal(d.GetUpdateTime(), second) {
		t.Errorf("made again: %v", d)
	}
	if d := r.get("c/b"); !proto.Equal(d.GetCreateTime(), first) || !proto.Equal(d.GetUpdateTime(), second) {
		t.Errorf("updated: %v", d)
	}
}

func TestDatabasesAreIndependent(t *testing.T) {
	r := newRig(t, Options{})
	ctx := context.Background()
	names := []string{r.name, "projects/p/databases/other", "projects/q/databases/(default)"}
	for i, name := range names {
		w := &pb.Write{Operation: &pb.Write_Update{Update: &pb.Document{Name: name + "/documents/c/a", Fields: fields{"n": integer(i)}}}}
		if _, err := r.client.Commit(ctx, &pb.CommitRequest{Database: name, Writes: []*pb.Write{w}}); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range names {
		d, err := r.client.GetDocument(ctx, &pb.GetDocumentRequest{Name: name + "/documents/c/a"})
		if err != nil || !sameFields(d, fields{"n": integer(i)}) || d.GetName() != name+"/documents/c/a" {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}

func (r *rig) batch(writes ...*pb.Write) (*pb.BatchWriteResponse, error) {
	return r.client.BatchWrite(context.Background(), &pb.BatchWriteRequest{Database: r.name, Writes: writes})
}

func TestBatchWriteJudgesEachWriteForItself(t *testing.T) {
	r := newRig(t, Options{})
	r.mustCommit(r.set("c/there", fields{"n": integer(1)}))
	response, err := r.batch(
		ifExists(r.set("c/there", nil), false),
		r.set("c/new", nil),
		ifExists(r.set("c/none", nil), true),
		ifUpdated(r.remove("c/other"), 1_700_000_000_000_000),
		r.transform("c/counter", increment("n", integer(2))),
		r.set("c/big", fields{"a": text(long(600_000)), "b": text(long(600_000))}),
		r.remove("c/nothing"))
	if err != nil {
		t.Fatal(err)
	}
	want := []codes.Code{codes.AlreadyExists, codes.OK, codes.NotFound, codes.FailedPrecondition, codes.OK, codes.InvalidArgument, codes.OK}
	for i, code := range want {
		if got := codes.Code(response.GetStatus()[i].GetCode()); got != code {
			t.Errorf("write %d: %v, want %v", i, response.GetStatus()[i], code)
		}
		if updated := response.GetWriteResults()[i].GetUpdateTime() != nil; updated != (i == 1 || i == 4) {
			t.Errorf("write %d: %v", i, response.GetWriteResults()[i])
		}
	}
	if !sameFields(r.get("c/there"), fields{"n": integer(1)}) || r.get("c/new") == nil || r.get("c/none") != nil {
		t.Error("the documents are not what the answers say")
	}
	if got := response.GetWriteResults()[4].GetTransformResults(); len(got) != 1 || got[0].GetIntegerValue() != 2 {
		t.Errorf("the transform's result is %v", got)
	}
}

func TestBatchWritesThatAreRefused(t *testing.T) {
	r := newRig(t, Options{})
	var many []*pb.Write
	for i := range 501 {
		many = append(many, r.set(fmt.Sprint("many/", i), nil))
	}
	for words, writes := range map[string][]*pb.Write{
		"the same document cannot be written more than once in a single request": {r.set("c/a", nil), r.set("c/b", nil), r.remove("c/a")},
		"maximum 500 writes allowed per request":                                 many,
		"field name __x__ is reserved":                                           {r.set("c/a", nil), r.set("c/b", fields{"__x__": null()})},
	} {
		if _, err := r.batch(writes...); !refused(err, codes.InvalidArgument, words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
	if r.db.position() != 0 {
		t.Error("a part was applied")
	}
	if _, err := r.batch(many[:500]...); err != nil {
		t.Errorf("500 writes: %v", err)
	}
	r.mustCommit(many...) // a commit has no such limit
}

func TestCreateDocument(t *testing.T) {
	r := newRig(t, Options{})
	ctx := context.Background()
	create := func(parent, collection, id string, d *pb.Document) (*pb.Document, error) {
		return r.client.CreateDocument(ctx, &pb.CreateDocumentRequest{
			Parent: parent, CollectionId: collection, DocumentId: id, Document: d,
			Mask: &pb.DocumentMask{FieldPaths: []string{"a"}},
		})
	}
	d, err := create(r.root, "c", "x", &pb.Document{Fields: fields{"a": integer(1), "b": integer(2)}})
	if err != nil || !sameFields(d, fields{"a": integer(1)}) || d.GetCreateTime() == nil || d.GetName() != r.root+"/c/x" {
		t.Errorf("got %v, %v", d, err)
	}
	if !sameFields(r.get("c/x"), fields{"a": integer(1), "b": integer(2)}) {
		t.Errorf("stored %v", r.get("c/x"))
	}
	seen := map[string]bool{}
	for range 100 {
		d, err := create(r.root+"/c/x", "sub", "", nil)
		id, ok := strings.CutPrefix(d.GetName(), r.root+"/c/x/sub/")
		if err != nil || !ok || len(id) != 20 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" || seen[id] {
			t.Fatalf("an ID of the server: %v, %v", d, err)
		}
		seen[id] = true
	}
	for words, request := range map[string][4]string{
		"Document already exists: " + r.root + "/c/x":       {r.root, "c", "x"},
		"document.name must not be set":                     {r.root, "c", "y", r.root + "/c/y"},
		`Resource id "a/b" is invalid because it contains`:  {r.root, "c", "a/b"},
		`Collection id "a/b" is invalid because it`:         {r.root, "a/b", "c"},
		`Resource id "__x__" is invalid`:                    {r.root, "c", "__x__"},
		"collectionId is the empty string.":                 {r.root, "", "a"},
		`Document parent name "` + r.root + `/c" lacks "/"`: {r.root + "/c", "c", "a"},
	} {
		code := codes.InvalidArgument
		if strings.HasPrefix(words, "Document already") {
			code = codes.AlreadyExists
		}
		if _, err := create(request[0], request[1], request[2], &pb.Document{Name: request[3]}); !refused(err, code, words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
}

func TestUpdateAndDeleteDocument(t *testing.T) {
	r := newRig(t, Options{})
	ctx := context.Background()
	name := r.root + "/c/a"
	exists := &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: true}}
	_, err := r.client.UpdateDocument(ctx, &pb.UpdateDocumentRequest{Document: &pb.Document{Name: name}, CurrentDocument: exists})
	if !refused(err, codes.NotFound, "No document to update") {
		t.Errorf("update what is not there: %v", err)
	}
	if _, err = r.client.UpdateDocument(ctx, &pb.UpdateDocumentRequest{}); !refused(err, codes.InvalidArgument, `lacks "projects"`) {
		t.Errorf("update nothing: %v", err)
	}
	for want, request := range map[int]*pb.UpdateDocumentRequest{
		1: {Document: &pb.Document{Name: name, Fields: fields{"a": integer(1), "b": integer(1)}}},
		2: {Document: &pb.Document{Name: name, Fields: fields{"a": integer(2), "b": integer(2)}}, UpdateMask: &pb.DocumentMask{FieldPaths: []string{"a"}}},
	} {
		request.Mask = &pb.DocumentMask{FieldPaths: []string{"a"}}
		if d, err := r.client.UpdateDocument(ctx, request); err != nil || !sameFields(d, fields{"a": integer(want)}) {
			t.Errorf("got %v, %v", d, err)
		}
	}
	if _, err := r.client.DeleteDocument(ctx, &pb.DeleteDocumentRequest{Name: name, CurrentDocument: exists}); err != nil || r.get("c/a") != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := r.client.DeleteDocument(ctx, &pb.DeleteDocumentRequest{Name: name, CurrentDocument: exists}); !refused(err, codes.NotFound, "No document to update") {
		t.Errorf("delete what is not there: %v", err)
	}
	if _, err := r.client.DeleteDocument(ctx, &pb.DeleteDocumentRequest{Name: name}); err != nil {
		t.Errorf("delete what is not there, unconditionally: %v", err)
	}
}
