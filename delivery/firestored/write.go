package firestored

import (
	"bytes"
	"slices"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// write is a checked write to one document, ready to be applied to any state of
// it.
type write struct {
	name, path string // full, and below the database's root
	names      *dictionary
	gone       bool   // it deletes
	full       []byte // the document that it sets, encoded; unless it has a mask
	masked     bool   // only the fields of mask are set, to what they are in fields
	mask       [][]string
	fields     map[string]*pb.Value
	transforms []transform
	touched    []string // top-level fields of mask and transforms
	timed      bool     // what it makes depends on the time of the commit
	condition  precondition
}

// precondition is what a write demands of the document's state.
type precondition struct {
	kind   conditionKind
	update int64 // microseconds since the epoch
}

type conditionKind int

const (
	always conditionKind = iota
	exists
	missing
	updatedAt
)

// parseWrite checks a write.
func (db *database) parseWrite(w *pb.Write) (*write, error) {
	out := &write{names: &db.names}
	var err error
	switch op := w.GetOperation().(type) {
	case *pb.Write_Update:
		err = out.update(w, op.Update)
	case *pb.Write_Delete:
		err = out.remove(w, op.Delete)
	case *pb.Write_Transform:
		err = out.transform(w, op.Transform)
	default:
		err = invalid("empty write operation")
	}
	if err != nil {
		return nil, err
	}
	if out.condition, err = parseCondition(w.GetCurrentDocument()); err != nil {
		return nil, err
	}
	got, path, err := documentName("Document name", out.name)
	if err != nil {
		return nil, err
	}
	if got != db.name {
		return nil, invalid("The document %q is not in the database %q.", out.name, db.name)
	}
	out.path = path
	return out, nil
}

func (w *write) update(of *pb.Write, d *pb.Document) error {
	w.name = d.GetName()
	if err := checkFields(d.GetFields(), 0); err != nil {
		return err
	}
	if of.UpdateMask != nil {
		if err := w.setMask(of.UpdateMask.GetFieldPaths()); err != nil {
			return err
		}
		w.fields = d.GetFields()
	} else {
		w.full = w.names.encode(d.GetFields())
	}
	return w.setTransforms(of.GetUpdateTransforms())
}

func (w *write) remove(of *pb.Write, name string) error {
	switch {
	case of.UpdateMask != nil:
		return invalid("a delete must not specify a document mask.")
	case len(of.GetUpdateTransforms()) > 0:
		return invalid("a delete must not specify update_transforms.")
	}
	w.name, w.gone = name, true
	return nil
}

func (w *write) transform(of *pb.Write, t *pb.DocumentTransform) error {
	switch {
	case of.UpdateMask != nil:
		return invalid("a transform must not specify a document mask.")
	case len(of.GetUpdateTransforms()) > 0:
		return invalid("a transform must not specify update_transforms.")
	case len(t.GetFieldTransforms()) == 0:
		return invalid("The list of FieldTransform must not be empty.")
	}
	w.name, w.masked = t.GetDocument(), true
	return w.setTransforms(t.GetFieldTransforms())
}

func (w *write) setMask(paths []string) error {
	w.masked = true
	for _, p := range paths {
		field, err := fieldPath(p)
		if err != nil {
			return err
		}
		w.mask = append(w.mask, field)
		w.touch(field)
	}
	return nil
}

func (w *write) setTransforms(list []*pb.DocumentTransform_FieldTransform) (err error) {
	if w.transforms, err = parseTransforms(list); err != nil {
		return err
	}
	for _, t := range w.transforms {
		w.touch(t.field)
		w.timed = w.timed || t.timed()
	}
	return nil
}

func (w *write) touch(field []string) {
	if !slices.Contains(w.touched, field[0]) {
		w.touched = append(w.touched, field[0])
	}
}

func parseCondition(p *pb.Precondition) (precondition, error) {
	switch x := p.GetConditionType().(type) {
	case *pb.Precondition_Exists:
		if x.Exists {
			return precondition{kind: exists}, nil
		}
		return precondition{kind: missing}, nil
	case *pb.Precondition_UpdateTime:
		at, err := microseconds(x.UpdateTime)
		return precondition{kind: updatedAt, update: at}, err
	default:
		return precondition{}, nil
	}
}

// check returns the service's error where the document's state, nil if there is
// none, is not the one demanded.
func (p precondition) check(name string, old *version) error {
	var stored int64 // 0 for a document that does not exist
	if old != nil {
		stored = old.update
	}
	switch {
	case p.kind == exists && old == nil:
		return status.Errorf(codes.NotFound, "No document to update: %s", name)
	case p.kind == missing && old != nil:
		return status.Errorf(codes.AlreadyExists, "Document already exists: %s", name)
	case p.kind == updatedAt && old != nil && p.update > stored: // no such version has ever been
		return invalid("Invalid base version, it is greater than the stored version: %s", name)
	case p.kind == updatedAt && (old == nil || stored != p.update):
		return status.Errorf(codes.FailedPrecondition, "the stored version (%d) does not match the required base version (%d)", stored, p.update)
	}
	return nil
}

// outcome is what a write makes of a document.
type outcome struct {
	next    *version    // the old one if nothing has changed, nil if there is no document any more
	results []*pb.Value // of the transforms
	err     error       // a gRPC status; nothing changes
}

// apply returns what the write makes of a document's state at a time in
// microseconds.
func (w *write) apply(old *version, at int64) outcome {
	if err := w.condition.check(w.name, old); err != nil {
		return outcome{err: err}
	}
	if w.gone {
		return outcome{}
	}
	base := w.full
	if w.masked && old != nil {
		base = old.data
	}
	data, results := w.change(base, at)
	if old != nil && bytes.Equal(old.data, data) {
		return outcome{next: old, results: results}
	}
	if err := w.names.checkSize(w.name, w.path, data); err != nil {
		return outcome{err: err}
	}
	next := &version{data: data, names: w.names, create: at, update: at}
	if old != nil {
		next.path, next.create = old.path, old.create
	} else {
		next.path = strings.Clone(w.path) // not with the request's text
	}
	return outcome{next: next, results: results}
}

// change applies the mask and the transforms to a document.
func (w *write) change(base []byte, at int64) (data []byte, results []*pb.Value) {
	if len(w.touched) == 0 {
		return base, nil
	}
	fields := w.names.decodeSome(base, w.touched)
	for _, path := range w.mask {
		v := fieldAt(w.fields, path)
		if v != nil && len(w.transforms) > 0 {
			v = proto.CloneOf(v) // transforms may change what is in it
		}
		setField(fields, path, v)
	}
	for _, t := range w.transforms {
		value, result := t.apply(fieldAt(fields, t.field), at)
		setField(fields, t.field, value)
		results = append(results, result)
	}
	return w.names.splice(base, w.names.encode(fields), w.touched), results
}
