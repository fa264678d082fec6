package firestored

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TestListenersKnowWhatQueriesFind plays random writes, lost streams and
// expired tokens, and compares what a listener has gathered with a query each
// time all is at rest.
func TestListenersKnowWhatQueriesFind(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &model{stand: newStand(t, Options{History: 40}), random: rand.New(rand.NewPCG(seed, 1))}
				for id, spec := range []string{
					"from=mail", "from=mail atleast=n:3", "from=mail order=n limit=3", "from=mail atleast=n:1 offset=1 limit=2",
					"from=mail all", "parent=users/u from=mail", "docs=mail/a,mail/b,users/u/mail/a", "from=mail select=n",
				} {
					m.targets = append(m.targets, &modelTarget{id: int32(id + 1), spec: spec})
				}
				m.reopen()
				for range 60 {
					m.step()
				}
			})
		})
	}
}

type model struct {
	*stand
	random  *rand.Rand
	stream  pb.Firestore_ListenClient
	cancel  context.CancelFunc
	done    chan struct{}
	targets []*modelTarget
}

// modelTarget is what a listener knows of a target.
type modelTarget struct {
	id    int32
	spec  string
	has   map[string]string // documents as text by name
	token []byte
	time  *timestamppb.Timestamp
	ended bool // by the server, for what was asked
}

// step does something at random and then compares.
func (m *model) step() {
	switch k := m.random.IntN(12); {
	case k < 9:
		m.write()
	case k < 10:
		m.server.ExpireTokens()
	default:
		m.cancel()
		<-m.done
		for range m.random.IntN(30) { // more than the log keeps, now and then
			m.write()
		}
		m.reopen()
	}
	synctest.Wait()
	for _, target := range m.targets {
		m.compare(target)
	}
}

func (m *model) write() {
	paths := []string{"mail/a", "mail/b", "mail/c", "mail/d", "users/u/mail/a", "users/v/mail/a", "other/a"}
	var writes []*pb.Write
	for _, i := range m.random.Perm(len(paths))[:1+m.random.IntN(3)] {
		if m.random.IntN(3) == 0 {
			writes = append(writes, standDelete(paths[i]))
		} else {
			writes = append(writes, standSet(paths[i], fmt.Sprint("n=", m.random.IntN(6)), fmt.Sprint("m=", m.random.IntN(6))))
		}
	}
	m.commit(writes...)
}

// reopen opens a stream with all targets, resumed by token or read time. What
// cannot be resumed is added anew.
func (m *model) reopen() {
	ctx, cancel := context.WithCancel(m.t.Context())
	stream, err := m.client.Listen(ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	m.stream, m.cancel, m.done = stream, cancel, make(chan struct{})
	for _, target := range m.targets {
		m.add(target, m.random.IntN(3))
	}
	go m.receive()
	synctest.Wait()
	for _, target := range m.targets {
		if target.ended {
			target.ended = false
			m.add(target, 2)
		}
	}
}

func (m *model) add(target *modelTarget, how int) {
	p := (&scripted{stand: m.stand}).scriptTarget(fmt.Sprint(target.id), strings.Fields(target.spec))
	switch {
	case how == 0 && target.token != nil:
		p.ResumeType = &pb.Target_ResumeToken{ResumeToken: target.token}
	case how == 1 && target.time != nil:
		p.ResumeType = &pb.Target_ReadTime{ReadTime: target.time}
	default:
		target.has = map[string]string{}
	}
	err := m.stream.Send(&pb.ListenRequest{Database: standDatabase, TargetChange: &pb.ListenRequest_AddTarget{AddTarget: p}})
	if err != nil {
		m.t.Error(err)
	}
}

func (m *model) receive() {
	defer close(m.done)
	for {
		r, err := m.stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				m.t.Error("the stream ended by itself")
			}
			return
		}
		m.apply(r)
	}
}

// apply does what a client does (the comments of ListenResponse).
func (m *model) apply(r *pb.ListenResponse) {
	switch x := r.GetResponseType().(type) {
	case *pb.ListenResponse_DocumentChange:
		d := x.DocumentChange.GetDocument()
		m.each(x.DocumentChange.GetTargetIds(), func(t *modelTarget) { t.has[d.GetName()] = fieldText(d) })
		m.each(x.DocumentChange.GetRemovedTargetIds(), func(t *modelTarget) { delete(t.has, d.GetName()) })
	case *pb.ListenResponse_DocumentDelete:
		m.each(x.DocumentDelete.GetRemovedTargetIds(), func(t *modelTarget) { delete(t.has, x.DocumentDelete.GetDocument()) })
	case *pb.ListenResponse_DocumentRemove:
		m.each(x.DocumentRemove.GetRemovedTargetIds(), func(t *modelTarget) { delete(t.has, x.DocumentRemove.GetDocument()) })
	case *pb.ListenResponse_Filter:
		m.each([]int32{x.Filter.GetTargetId()}, func(t *modelTarget) {
			if len(t.has) != int(x.Filter.GetCount()) {
				m.t.Errorf("%s: the filter counts %d, the listener knows %d", t.spec, x.Filter.GetCount(), len(t.has))
			}
		})
	}
	m.applyTarget(r.GetTargetChange())
}

func (m *model) applyTarget(c *pb.TargetChange) {
	switch c.GetTargetChangeType() {
	case pb.TargetChange_RESET:
		m.each(c.GetTargetIds(), func(t *modelTarget) { t.has = map[string]string{} })
	case pb.TargetChange_REMOVE:
		m.each(c.GetTargetIds(), func(t *modelTarget) { t.ended = true })
	case pb.TargetChange_NO_CHANGE:
		if c.GetReadTime() != nil {
			for _, t := range m.targets {
				t.token, t.time = c.GetResumeToken(), c.GetReadTime()
			}
		}
	}
}

func (m *model) each(ids []int32, f func(*modelTarget)) {
	for _, id := range ids {
		f(m.targets[id-1])
	}
}

// compare asks for what a target should know.
func (m *model) compare(target *modelTarget) {
	want := map[string]string{}
	p := (&scripted{stand: m.stand}).scriptTarget("1", strings.Fields(target.spec))
	if q := p.GetQuery(); q != nil {
		stream, err := m.client.RunQuery(m.t.Context(), &pb.RunQueryRequest{
			Parent:    q.GetParent(),
			QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: q.GetStructuredQuery()},
		})
		if err != nil {
			m.t.Fatal(err)
		}
		for r, err := stream.Recv(); !errors.Is(err, io.EOF); r, err = stream.Recv() {
			if err != nil {
				m.t.Fatal(err)
			}
			if d := r.GetDocument(); d != nil {
				want[d.GetName()] = fieldText(d)
			}
		}
	}
	for _, name := range p.GetDocuments().GetDocuments() {
		if d, err := m.client.GetDocument(m.t.Context(), &pb.GetDocumentRequest{Name: name}); err == nil {
			want[name] = fieldText(d)
		}
	}
	if !maps.Equal(target.has, want) {
		m.t.Fatalf("%s:\n got %v\nwant %v", target.spec, target.has, want)
	}
}
