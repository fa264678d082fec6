package firestored

import (
	"context"
	"crypto/rand"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// CreateDocument implements google.firestore.v1.Firestore.CreateDocument.
func (s *Server) CreateDocument(_ context.Context, r *pb.CreateDocumentRequest) (*pb.Document, error) {
	database, parent, err := parentName(r.GetParent())
	switch {
	case err != nil:
		return nil, err
	case r.GetCollectionId() == "":
		return nil, invalid("collectionId is the empty string.")
	case r.GetDocument().GetName() != "":
		return nil, invalid("document.name must not be set")
	}
	if err := checkID(r.GetCollectionId(), true); err != nil {
		return nil, err
	}
	id := r.GetDocumentId()
	if id == "" {
		id = newID()
	} else if err := checkID(id, false); err != nil {
		return nil, err
	}
	name := database + "/documents/" + below(parent, r.GetCollectionId()) + "/" + id
	return s.set(database, &pb.Write{
		Operation:       &pb.Write_Update{Update: &pb.Document{Name: name, Fields: r.GetDocument().GetFields()}},
		CurrentDocument: &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: false}},
	}, r.GetMask())
}

// UpdateDocument implements google.firestore.v1.Firestore.UpdateDocument.
func (s *Server) UpdateDocument(_ context.Context, r *pb.UpdateDocumentRequest) (*pb.Document, error) {
	database, _, err := documentName("Document name", r.GetDocument().GetName())
	if err != nil {
		return nil, err
	}
	return s.set(database, &pb.Write{
		Operation:       &pb.Write_Update{Update: r.GetDocument()},
		UpdateMask:      r.GetUpdateMask(),
		CurrentDocument: r.GetCurrentDocument(),
	}, r.GetMask())
}

// set makes one write, and returns of the document what the mask names.
func (s *Server) set(database string, w *pb.Write, m *pb.DocumentMask) (*pb.Document, error) {
	only, err := parseMask(m)
	if err != nil {
		return nil, err
	}
	db := s.database(database)
	written, err := s.one(db, w)
	if err != nil {
		return nil, err
	}
	return only.apply(written.document(db.root)), nil
}

// DeleteDocument implements google.firestore.v1.Firestore.DeleteDocument.
func (s *Server) DeleteDocument(_ context.Context, r *pb.DeleteDocumentRequest) (*emptypb.Empty, error) {
	database, _, err := documentName("Document name", r.GetName())
	if err != nil {
		return nil, err
	}
	w := &pb.Write{Operation: &pb.Write_Delete{Delete: r.GetName()}, CurrentDocument: r.GetCurrentDocument()}
	if _, err := s.one(s.database(database), w); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// one makes one write and returns what it made of its document.
func (s *Server) one(db *database, w *pb.Write) (*version, error) {
	writes, err := db.parseWrites([]*pb.Write{w})
	if err != nil {
		return nil, err
	}
	outcomes, _, err := db.commit(writes, func() error { return nil })
	if err != nil {
		return nil, err
	}
	s.billWrites(writes)
	return outcomes[0].next, nil
}

// newID returns a document ID as the service assigns it: 20 letters and digits.
func newID() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	id := make([]byte, 0, 20)
	for len(id) < cap(id) {
		var random [32]byte
		_, _ = rand.Read(random[:]) // it never fails
		for _, b := range random {
			if b &= 63; int(b) < len(alphabet) && len(id) < cap(id) {
				id = append(id, alphabet[b])
			}
		}
	}
	return string(id)
}
