package query

import (
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// mask is a tree of field names; below a nil one everything is selected.
type mask map[string]mask

// parseMask returns nil where all fields are selected. That is so for an empty
// list too; the name alone is selected by __name__ (comment of
// StructuredQuery.Projection).
func parseMask(p *pb.StructuredQuery_Projection) (mask, error) {
	if len(p.GetFields()) == 0 {
		return nil, nil
	}
	m := mask{}
	for _, r := range p.GetFields() {
		f, err := parseField(r)
		if err != nil {
			return nil, err
		}
		if !f.name {
			m.add(f.segments)
		}
	}
	return m, nil
}

func (m mask) add(segments []string) {
	last := len(segments) - 1
	for _, s := range segments[:last] {
		inner, ok := m[s]
		if ok && inner == nil {
			return // selected as a whole
		}
		if !ok {
			inner = mask{}
			m[s] = inner
		}
		m = inner
	}
	m[segments[last]] = nil
}

// of returns what m selects; maps of which it selects nothing are left out.
func (m mask) of(fields map[string]*pb.Value) map[string]*pb.Value {
	selected := map[string]*pb.Value{}
	for name, inner := range m {
		v, ok := fields[name]
		if !ok {
			continue
		}
		if inner != nil {
			part := inner.of(below(v))
			if len(part) == 0 {
				continue
			}
			v = &pb.Value{ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: part}}}
		}
		selected[name] = v
	}
	return selected
}

// Project returns d with the fields that the query selects, d itself where it
// selects all. The values are those of d and must not be changed.
func (q *Query) Project(d *pb.Document) *pb.Document {
	if q.selection == nil {
		return d
	}
	return &pb.Document{
		Name:       d.GetName(),
		Fields:     q.selection.of(d.GetFields()),
		CreateTime: d.GetCreateTime(),
		UpdateTime: d.GetUpdateTime(),
	}
}
