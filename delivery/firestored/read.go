package firestored

import (
	"context"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxPast is how far back a read may go without point-in-time recovery (comments
// of read_time in firestore.proto).
const maxPast = time.Hour

// consistency is the consistency_selector of a request: at most one is set.
type consistency struct {
	transaction []byte
	begin       *pb.TransactionOptions // a transaction to be begun
	at          *timestamppb.Timestamp
}

// reader is what a request reads from, and for which transaction.
type reader struct {
	view view
	tx   *transaction // nil outside of any
	made bool         // tx was begun by this request
}

// reader resolves a request's consistency.
func (db *database) reader(c consistency) (r reader, err error) {
	switch {
	case c.begin != nil:
		r.made = true
		r.tx, err = db.begin(c.begin, true)
	case len(c.transaction) > 0:
		r.tx, err = db.transaction(c.transaction, false)
	default:
		r.view, err = db.viewAt(c.at)
		return r, err
	}
	if err != nil {
		return reader{}, err
	}
	r.view, err = r.tx.snapshot()
	return r, err
}

// begun returns the ID of the transaction that the request has begun.
func (r reader) begun() []byte {
	if !r.made {
		return nil
	}
	return r.tx.id
}

// viewAt returns a view at the time that a request asks for, now without one.
func (db *database) viewAt(t *timestamppb.Timestamp) (view, error) {
	if t == nil {
		return db.view(0)
	}
	at, err := microseconds(t)
	if err != nil {
		return view{}, err
	}
	if at < time.Now().Add(-maxPast).UnixMicro() {
		return view{}, errTooOld()
	}
	return db.view(at)
}

// GetDocument implements google.firestore.v1.Firestore.GetDocument.
func (s *Server) GetDocument(_ context.Context, r *pb.GetDocumentRequest) (*pb.Document, error) {
	name, path, err := documentName("Document name", r.GetName())
	if err != nil {
		return nil, err
	}
	only, err := parseMask(r.GetMask())
	if err != nil {
		return nil, err
	}
	db := s.database(name)
	from, err := db.reader(consistency{transaction: r.GetTransaction(), at: r.GetReadTime()})
	if err != nil {
		return nil, err
	}
	versions, err := from.documents([]string{path})
	if err != nil {
		return nil, err
	}
	s.billReads(1) // of a missing document too
	if versions[0] == nil {
		return nil, status.Errorf(codes.NotFound, "Document %q not found.", r.GetName())
	}
	return only.apply(versions[0].document(db.root)), nil
}

// documents reads documents, and has the transaction remember them.
func (r reader) documents(paths []string) ([]*version, error) {
	versions, err := r.view.documents(paths)
	if err == nil {
		r.tx.noteDocuments(paths, versions)
	}
	return versions, err
}

// BatchGetDocuments implements google.firestore.v1.Firestore.BatchGetDocuments.
// The answers have the order of the request.
func (s *Server) BatchGetDocuments(r *pb.BatchGetDocumentsRequest, stream pb.Firestore_BatchGetDocumentsServer) error {
	if err := databaseName(r.GetDatabase()); err != nil {
		return err
	}
	db := s.database(r.GetDatabase())
	paths, err := db.paths(r.GetDocuments())
	if err != nil {
		return err
	}
	only, err := parseMask(r.GetMask())
	if err != nil {
		return err
	}
	from, err := db.reader(consistency{transaction: r.GetTransaction(), begin: r.GetNewTransaction(), at: r.GetReadTime()})
	if err != nil {
		return err
	}
	versions, err := from.documents(paths)
	if err != nil {
		return err
	}
	if id := from.begun(); id != nil {
		if err := stream.Send(&pb.BatchGetDocumentsResponse{Transaction: id}); err != nil {
			return err
		}
	}
	for i, v := range versions {
		response := &pb.BatchGetDocumentsResponse{ReadTime: timestamp(from.view.at)}
		if v == nil {
			response.Result = &pb.BatchGetDocumentsResponse_Missing{Missing: db.root + "/" + paths[i]}
		} else {
			response.Result = &pb.BatchGetDocumentsResponse_Found{Found: only.apply(v.document(db.root))}
		}
		s.billReads(1)
		if err := stream.Send(response); err != nil {
			return err
		}
	}
	return nil
}

// paths splits the names of documents of this database. What is named twice is
// there once.
func (db *database) paths(names []string) ([]string, error) {
	paths := make([]string, 0, len(names))
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		database, path, err := documentName("Document name", name)
		switch {
		case err != nil:
			return nil, err
		case database != db.name:
			return nil, invalid("The document %q is not in the database %q.", name, db.name)
		case !seen[path]:
			seen[path] = true
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// mask is which fields of a document are asked for.
type mask struct {
	set    bool // all if it is not
	fields [][]string
}

func parseMask(m *pb.DocumentMask) (mask, error) {
	out := mask{set: m != nil}
	for _, path := range m.GetFieldPaths() {
		field, err := readPath(path)
		if err != nil {
			return mask{}, err
		}
		out.fields = append(out.fields, field)
	}
	return out, nil
}

// apply leaves in d, which is the caller's own, only what the mask names.
func (m mask) apply(d *pb.Document) *pb.Document {
	if !m.set {
		return d
	}
	kept := map[string]*pb.Value{}
	for _, field := range m.fields {
		if v := fieldAt(d.GetFields(), field); v != nil {
			setField(kept, field, v)
		}
	}
	d.Fields = kept
	return d
}
