package firestored

import (
	"context"
	"fmt"
	"strings"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// listed returns the paths of all pages, and the sizes of the pages.
func (r *rig) listed(request *pb.ListDocumentsRequest) (paths []string, pages []int, err error) {
	if request.GetParent() == "" {
		request.Parent = r.root
	}
	for {
		response, err := r.client.ListDocuments(context.Background(), request)
		if err != nil {
			return paths, pages, err
		}
		pages = append(pages, len(response.GetDocuments()))
		for _, d := range response.GetDocuments() {
			path := strings.TrimPrefix(d.GetName(), r.root+"/")
			if d.GetCreateTime() == nil {
				path += "?" // missing
			}
			paths = append(paths, path)
		}
		if request.PageToken = response.GetNextPageToken(); request.PageToken == "" {
			return paths, pages, nil
		}
	}
}

func TestListDocuments(t *testing.T) {
	r := newRig(t, Options{})
	for i := range 5 {
		r.mustCommit(r.set(fmt.Sprint("c/", i), fields{"p": integer(i % 2), "q": integer(i)}))
	}
	at := r.mustCommit(r.set("c/7/sub/x", nil), r.set("c/25/sub/x/low/y", nil), r.set("c/3/sub/x", nil), r.set("d/x", nil)).GetCommitTime()
	tests := map[string]struct {
		request *pb.ListDocumentsRequest
		want    string
		pages   string
	}{
		"all":                       {&pb.ListDocumentsRequest{CollectionId: "c"}, "c/0 c/1 c/2 c/3 c/4", "[5]"},
		"pages":                     {&pb.ListDocumentsRequest{CollectionId: "c", PageSize: 2}, "c/0 c/1 c/2 c/3 c/4", "[2 2 1]"},
		"pages that come out even":  {&pb.ListDocumentsRequest{CollectionId: "c", PageSize: 5}, "c/0 c/1 c/2 c/3 c/4", "[5]"},
		"by name, down":             {&pb.ListDocumentsRequest{CollectionId: "c", PageSize: 2, OrderBy: "__name__ desc"}, "c/4 c/3 c/2 c/1 c/0", "[2 2 1]"},
		"by field, pages":           {&pb.ListDocumentsRequest{CollectionId: "c", PageSize: 2, OrderBy: "p desc, q"}, "c/1 c/3 c/0 c/2 c/4", "[2 2 1]"},
		"by field, names down":      {&pb.ListDocumentsRequest{CollectionId: "c", PageSize: 1, OrderBy: "p desc"}, "c/3 c/1 c/4 c/2 c/0", "[1 1 1 1 1]"},
		"with missing":              {&pb.ListDocumentsRequest{CollectionId: "c", ShowMissing: true}, "c/0 c/1 c/2 c/25? c/3 c/4 c/7?", "[7]"},
		"with missing, pages":       {&pb.ListDocumentsRequest{CollectionId: "c", ShowMissing: true, PageSize: 2}, "c/0 c/1 c/2 c/25? c/3 c/4 c/7?", "[2 2 2 1]"},
		"nothing but missing":       {&pb.ListDocumentsRequest{Parent: r.root + "/c/25", CollectionId: "sub", ShowMissing: true}, "c/25/sub/x?", "[1]"},
		"below a document":          {&pb.ListDocumentsRequest{Parent: r.root + "/c/7", CollectionId: "sub"}, "c/7/sub/x", "[1]"},
		"all collections":           {&pb.ListDocumentsRequest{PageSize: 4}, "c/0 c/1 c/2 c/3 c/4 d/x", "[4 2]"},
		"nothing":                   {&pb.ListDocumentsRequest{CollectionId: "none"}, "", "[0]"},
		"what is only there, pages": {&pb.ListDocumentsRequest{CollectionId: "c", PageSize: 4, OrderBy: "q"}, "c/0 c/1 c/2 c/3 c/4", "[4 1]"},
	}
	for name, test := range tests {
		paths, pages, err := r.listed(test.request)
		if got := strings.Join(paths, " "); err != nil || got != test.want || fmt.Sprint(pages) != test.pages {
			t.Errorf("%s: %q in pages %v, %v, want %q in %s", name, got, pages, err, test.want, test.pages)
		}
	}
	r.mustCommit(r.remove("c/7/sub/x"), r.remove("c/0"), r.set("c/8/sub/x", nil), r.set("c/9", nil))
	past := func(missing bool) *pb.ListDocumentsRequest {
		return &pb.ListDocumentsRequest{CollectionId: "c", ShowMissing: missing, ConsistencySelector: &pb.ListDocumentsRequest_ReadTime{ReadTime: at}}
	}
	for want, request := range map[string]*pb.ListDocumentsRequest{
		"c/0 c/1 c/2 c/3 c/4":            past(false),
		"c/0 c/1 c/2 c/25? c/3 c/4 c/7?": past(true),
		"c/1 c/2 c/25? c/3 c/4 c/8? c/9": {CollectionId: "c", ShowMissing: true},
		"c/1 c/2 c/3 c/4 c/9":            {CollectionId: "c"},
	} {
		if paths, _, err := r.listed(request); strings.Join(paths, " ") != want {
			t.Errorf("after a change: %v, %v, want %s", paths, err, want)
		}
	}
}

func TestListDocumentsOfTheUsualPageAndMask(t *testing.T) {
	r := newRig(t, Options{})
	for i := range usualPage + 1 {
		r.mustCommit(r.set(fmt.Sprint("c/", i), fields{"a": integer(1), "b": integer(2)}))
	}
	response, err := r.client.ListDocuments(context.Background(), &pb.ListDocumentsRequest{Parent: r.root, CollectionId: "c", OrderBy: "b", Mask: &pb.DocumentMask{FieldPaths: []string{"a"}}})
	if err != nil || len(response.GetDocuments()) != usualPage || response.GetNextPageToken() == "" {
		t.Fatalf("%d documents, %v", len(response.GetDocuments()), err)
	}
	if d := response.GetDocuments()[0]; !sameFields(d, fields{"a": integer(1)}) {
		t.Errorf("masked: %v", d)
	}
}

func TestListsThatAreRefused(t *testing.T) {
	r := newRig(t, Options{})
	for words, request := range map[string]*pb.ListDocumentsRequest{
		"Page size must be nonnegative.":                       {CollectionId: "c", PageSize: -1},
		"invalid page token":                                   {CollectionId: "c", PageToken: "junk!"},
		"cannot specify an order when show_missing is true":    {CollectionId: "c", ShowMissing: true, OrderBy: "a"},
		`Invalid order by clause "x y z".`:                     {CollectionId: "c", OrderBy: "x y z"},
		`Invalid order by clause "".`:                          {CollectionId: "c", OrderBy: "x,,y"},
		`Document parent name "` + r.root + `/c" lacks "/" at`: {Parent: r.root + "/c", CollectionId: "c"},
		"Invalid property path":                                {CollectionId: "c", Mask: &pb.DocumentMask{FieldPaths: []string{"a..b"}}},
	} {
		if _, _, err := r.listed(request); !refused(err, codes.InvalidArgument, words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
}

func TestListCollectionIds(t *testing.T) {
	r := newRig(t, Options{})
	var at *timestamppb.Timestamp
	for _, path := range []string{"b/1", "a/1", "c/1/low/2/deep/3", "a/1/x/1", "a/1/w/1/z/1", "ab/1"} {
		at = r.mustCommit(r.set(path, nil)).GetCommitTime()
	}
	ids := func(request *pb.ListCollectionIdsRequest) string {
		var all []string
		for {
			response, err := r.client.ListCollectionIds(context.Background(), request)
			if err != nil {
				return err.Error()
			}
			all = append(all, response.GetCollectionIds()...)
			if request.PageToken = response.GetNextPageToken(); request.PageToken == "" {
				return strings.Join(all, " ")
			}
			all = append(all, "|")
		}
	}
	for name, test := range map[string]struct {
		request *pb.ListCollectionIdsRequest
		want    string
	}{
		"of the root":            {&pb.ListCollectionIdsRequest{Parent: r.root}, "a ab b c"},
		"pages":                  {&pb.ListCollectionIdsRequest{Parent: r.root, PageSize: 2}, "a ab | b c"},
		"of a document":          {&pb.ListCollectionIdsRequest{Parent: r.root + "/a/1"}, "w x"},
		"of a missing document":  {&pb.ListCollectionIdsRequest{Parent: r.root + "/c/1"}, "low"},
		"of one without any":     {&pb.ListCollectionIdsRequest{Parent: r.root + "/b/1"}, ""},
		"of one that is no more": {&pb.ListCollectionIdsRequest{Parent: r.root + "/b/2"}, ""},
	} {
		if got := ids(test.request); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	r.mustCommit(r.remove("b/1"), r.set("d/1", nil), r.remove("ab/1"), r.set("ab/2", nil))
	if got := ids(&pb.ListCollectionIdsRequest{Parent: r.root}); got != "a ab c d" {
		t.Errorf("after a change: %q", got)
	}
	if got := ids(&pb.ListCollectionIdsRequest{Parent: r.root, ConsistencySelector: &pb.ListCollectionIdsRequest_ReadTime{ReadTime: at}}); got != "a ab b c" {
		t.Errorf("before the change: %q", got)
	}
	for words, request := range map[string]*pb.ListCollectionIdsRequest{
		"Page size must be nonnegative.": {Parent: r.root, PageSize: -1},
		"invalid page token":             {Parent: r.root, PageToken: "!"},
		`lacks "/"`:                      {Parent: r.root + "/c"},
	} {
		if _, err := r.client.ListCollectionIds(context.Background(), request); !refused(err, codes.InvalidArgument, words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
}
