package firestored

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"postrider/delivery/firestored/query"
)

// Bounds of a list's pages.
const (
	usualPage = 30      // documents, where the request does not say
	maxIDs    = 1 << 16 // collection IDs
	maxAnswer = 8 << 20 // bytes; the page ends there
)

// ListDocuments implements google.firestore.v1.Firestore.ListDocuments.
func (s *Server) ListDocuments(_ context.Context, r *pb.ListDocumentsRequest) (*pb.ListDocumentsResponse, error) {
	database, parent, err := parentName(r.GetParent())
	switch {
	case err != nil:
		return nil, err
	case r.GetPageSize() < 0:
		return nil, invalid("Page size must be nonnegative.")
	case r.GetShowMissing() && r.GetOrderBy() != "":
		return nil, invalid("cannot specify an order when show_missing is true")
	}
	only, err := parseMask(r.GetMask())
	if err != nil {
		return nil, err
	}
	l, err := newList(r)
	if err != nil {
		return nil, err
	}
	from, err := s.database(database).reader(consistency{transaction: r.GetTransaction(), at: r.GetReadTime()})
	if err != nil {
		return nil, err
	}
	var missing []string
	if r.GetShowMissing() && r.GetCollectionId() != "" {
		if missing, err = from.view.missing(below(parent, r.GetCollectionId())); err != nil {
			return nil, err
		}
	}
	response, err := l.page(s, from, missing)
	if err != nil {
		return nil, err
	}
	for _, d := range response.GetDocuments() {
		only.apply(d)
	}
	s.billReads(max(1, len(response.GetDocuments())))
	return response, nil
}

// list is a listing of documents, of which one page is wanted. The token of the
// next page is the cursor behind the last document.
type list struct {
	query  *query.Query
	orders []*pb.StructuredQuery_Order // the last is by name
	after  *pb.Cursor                  // nil for the first page
	size   int
}

func newList(r *pb.ListDocumentsRequest) (*list, error) {
	orders, err := parseOrder(r.GetOrderBy())
	if err != nil {
		return nil, err
	}
	after, err := parsePageToken(r.GetPageToken())
	if err != nil {
		return nil, err
	}
	size := int(r.GetPageSize())
	if size == 0 {
		size = usualPage
	}
	q, err := query.Parse(r.GetParent(), &pb.StructuredQuery{
		From:    []*pb.StructuredQuery_CollectionSelector{{CollectionId: r.GetCollectionId()}},
		OrderBy: orders,
		StartAt: after,
		Limit:   wrapperspb.Int32(int32(min(size, 1<<20) + 1)), // one more tells whether there is another page
	})
	if err != nil {
		return nil, err
	}
	return &list{query: q, orders: orders, after: after, size: size}, nil
}

// parseOrder reads an order as in "priority desc, __name__ desc".
func parseOrder(text string) ([]*pb.StructuredQuery_Order, error) {
	var orders []*pb.StructuredQuery_Order
	direction := pb.StructuredQuery_ASCENDING
	named := false
	for clause := range strings.SplitSeq(text, ",") {
		words := strings.Fields(clause)
		if len(words) == 0 && text == "" {
			break
		}
		direction = pb.StructuredQuery_ASCENDING
		switch {
		case len(words) == 2 && strings.EqualFold(words[1], "desc"):
			direction = pb.StructuredQuery_DESCENDING
		case len(words) == 1 || len(words) == 2 && strings.EqualFold(words[1], "asc"):
		default:
			return nil, invalid("Invalid order by clause %q.", strings.TrimSpace(clause))
		}
		named = named || words[0] == "__name__"
		orders = append(orders, orderBy(words[0], direction))
	}
	if !named {
		orders = append(orders, orderBy("__name__", direction))
	}
	return orders, nil
}

func orderBy(path string, direction pb.StructuredQuery_Direction) *pb.StructuredQuery_Order {
	return &pb.StructuredQuery_Order{Field: &pb.StructuredQuery_FieldReference{FieldPath: path}, Direction: direction}
}

func parsePageToken(token string) (*pb.Cursor, error) {
	if token == "" {
		return nil, nil
	}
	after := &pb.Cursor{}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = proto.Unmarshal(raw, after)
	}
	if err != nil || len(after.GetValues()) == 0 {
		return nil, invalid("invalid page token")
	}
	return after, nil
}

// page returns the next page. Names of missing documents are mixed in, which are
// all after those of the pages before.
func (l *list) page(s *Server, from reader, missing []string) (*pb.ListDocumentsResponse, error) {
	var documents []*pb.Document
	root, bytes := from.view.db.root, 0
	if l.after != nil {
		last := l.after.GetValues()[len(l.after.GetValues())-1].GetReferenceValue()
		missing = slices.DeleteFunc(missing, func(path string) bool { return query.CompareNames(root+"/"+path, last) <= 0 })
	}
	var last *pb.Document
	found := 0
	_, err := s.run(from.view, l.query, func(_ *version, d *pb.Document) bool {
		for len(missing) > 0 && query.CompareNames(root+"/"+missing[0], d.GetName()) < 0 {
			documents = append(documents, &pb.Document{Name: root + "/" + missing[0]})
			missing = missing[1:]
		}
		found, last = found+1, d
		documents = append(documents, d)
		bytes += proto.Size(d)
		return len(documents) <= l.size && bytes < maxAnswer
	})
	if err != nil {
		return nil, err
	}
	from.tx.noteQuery(l.query, found, last)
	more := bytes >= maxAnswer
	for _, path := range missing {
		if more || len(documents) > l.size {
			break
		}
		documents = append(documents, &pb.Document{Name: root + "/" + path})
	}
	response := &pb.ListDocumentsResponse{Documents: documents[:min(len(documents), l.size)]}
	if n := len(response.GetDocuments()); n > 0 && (more || n < len(documents)) {
		response.NextPageToken = l.token(response.GetDocuments()[n-1])
	}
	return response, nil
}

// token returns the token of the page behind a document.
func (l *list) token(d *pb.Document) string {
	after := &pb.Cursor{}
	for _, o := range l.orders {
		v := &pb.Value{ValueType: &pb.Value_ReferenceValue{ReferenceValue: d.GetName()}}
		if path := o.GetField().GetFieldPath(); path != "__name__" {
			v, _ = query.Lookup(d.GetFields(), path)
		}
		after.Values = append(after.Values, v)
	}
	raw, err := proto.Marshal(after)
	if err != nil {
		return "" // a document that was stored can be marshalled
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// missing returns the paths in a collection that have documents below them but
// none of their own, sorted.
func (v view) missing(collection string) ([]string, error) {
	ids, err := v.idsBelow(collection)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(ids))
	for i, id := range ids {
		paths[i] = collection + "/" + id
	}
	versions, err := v.documents(paths)
	if err != nil {
		return nil, err
	}
	var out []string
	for i, version := range versions {
		if version == nil {
			out = append(out, paths[i])
		}
	}
	return out, nil
}

// idsBelow returns the IDs right below a path, empty for the root, that have
// documents below them, sorted as names are.
func (v view) idsBelow(path string) (ids []string, err error) {
	seen := map[string]bool{}
	note := func(collection string) {
		if rest, ok := strings.CutPrefix(collection, below(path, "")); ok {
			id, _, _ := strings.Cut(rest, "/")
			seen[id] = true
		}
	}
	err = v.read(func(old map[string]map[string]*version) {
		for _, c := range v.db.collections {
			if v.has(c, old[c.path]) {
				note(c.path)
			}
		}
		for collection, versions := range old {
			for _, version := range versions {
				if version != nil {
					note(collection)
				}
			}
		}
	})
	for id := range seen {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, query.CompareNames)
	return ids, err
}

// has reports whether a collection has a document that has not changed since the
// view's time.
func (v view) has(c *collection, changed map[string]*version) bool {
	for _, e := range c.docs.take(cut{}, cut{end: true}, false, len(changed)+1) {
		if _, ok := changed[e.path]; !ok {
			return true
		}
	}
	return false
}

// ListCollectionIds implements
// google.firestore.v1.Firestore.ListCollectionIds. The page token is the last
// ID of the page before.
func (s *Server) ListCollectionIds(_ context.Context, r *pb.ListCollectionIdsRequest) (*pb.ListCollectionIdsResponse, error) {
	database, parent, err := parentName(r.GetParent())
	switch {
	case err != nil:
		return nil, err
	case r.GetPageSize() < 0:
		return nil, invalid("Page size must be nonnegative.")
	}
	after, err := base64.RawURLEncoding.DecodeString(r.GetPageToken())
	if err != nil || r.GetPageToken() != "" && checkID(string(after), true) != nil {
		return nil, invalid("invalid page token")
	}
	v, err := s.database(database).viewAt(r.GetReadTime())
	if err != nil {
		return nil, err
	}
	ids, err := v.idsBelow(parent)
	if err != nil {
		return nil, err
	}
	if r.GetPageToken() != "" {
		ids = slices.DeleteFunc(ids, func(id string) bool { return id <= string(after) })
	}
	size := min(int(r.GetPageSize()), maxIDs)
	if size == 0 {
		size = maxIDs
	}
	response := &pb.ListCollectionIdsResponse{CollectionIds: ids[:min(size, len(ids))]}
	if size < len(ids) {
		response.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(ids[size-1]))
	}
	s.billReads(1)
	return response, nil
}
