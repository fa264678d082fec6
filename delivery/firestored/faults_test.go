package firestored

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// create writes a document that must not exist: the second of two fails.
func (s *stand) create(ctx context.Context, path string) error {
	w := standSet(path, "n=1")
	w.CurrentDocument = &pb.Precondition{ConditionType: &pb.Precondition_Exists{}}
	_, err := s.client.Commit(ctx, &pb.CommitRequest{Database: standDatabase, Writes: []*pb.Write{w}})
	return err
}

func (s *stand) exists(path string) bool {
	_, err := s.client.GetDocument(context.Background(), &pb.GetDocumentRequest{Name: standRoot + "/" + path})
	return err == nil
}

func TestCallFaults(t *testing.T) {
	const giveUp = time.Minute
	for rule, test := range map[string]struct {
		fault   CallFault
		code    codes.Code
		took    time.Duration
		applied bool
	}{
		"no fault":                          {CallFault{}, codes.OK, 0, true},
		"refused":                           {CallFault{Refuse: codes.ResourceExhausted}, codes.ResourceExhausted, 0, false},
		"refused at once, whatever else":    {CallFault{Refuse: codes.Aborted, Delay: time.Hour, Late: time.Hour}, codes.Aborted, 0, false},
		"applied and answered another code": {CallFault{Answer: codes.Unavailable}, codes.Unavailable, 0, true},
		"delayed":                           {CallFault{Delay: time.Second}, codes.OK, time.Second, true},
		"answered late":                     {CallFault{Late: time.Second}, codes.OK, time.Second, true},
		"answered too late":                 {CallFault{Late: time.Hour}, codes.DeadlineExceeded, giveUp, true},
		"delayed beyond its caller":         {CallFault{Delay: time.Hour}, codes.DeadlineExceeded, giveUp, true},
		"late with another code":            {CallFault{Late: time.Second, Answer: codes.Internal}, codes.Internal, time.Second, true},
		"applied twice":                     {CallFault{Twice: true}, codes.AlreadyExists, 0, true},
	} {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, Options{})
				s.server.SetFaults(Faults{Call: func(method string, request any) CallFault {
					if _, ok := request.(*pb.CommitRequest); ok != (method == "Commit") {
						t.Errorf("%s: a request of type %T", method, request)
					}
					if method != "Commit" {
						return CallFault{}
					}
					return test.fault
				}})
				ctx, cancel := context.WithTimeout(t.Context(), giveUp)
				defer cancel()
				start := time.Now()
				err := s.create(ctx, "mail/a")
				if status.Code(err) != test.code || time.Since(start) != test.took {
					t.Errorf("answered %v after %v", err, time.Since(start))
				}
				synctest.Wait()
				if s.exists("mail/a") != test.applied {
					t.Errorf("applied: %v", !test.applied)
				}
				s.server.SetFaults(Faults{})
				if err := s.create(t.Context(), "mail/b"); err != nil {
					t.Errorf("mended: %v", err)
				}
			})
		})
	}
}

// TestStreamFaults breaks a stream of three answers, of which the last two are
// documents.
func TestStreamFaults(t *testing.T) {
	for rule, test := range map[string]struct {
		at     int
		fault  StreamFault
		answer int
		code   codes.Code
		took   time.Duration
	}{
		"no fault":             {9, StreamFault{}, 3, codes.OK, 0},
		"refused":              {0, StreamFault{Cut: codes.PermissionDenied}, 0, codes.PermissionDenied, 0},
		"cut after an answer":  {1, StreamFault{Cut: codes.Unavailable}, 1, codes.Unavailable, 0},
		"cut after the last":   {3, StreamFault{Cut: codes.Unavailable}, 3, codes.Unavailable, 0},
		"silent from the open": {0, StreamFault{Silent: true}, 0, codes.DeadlineExceeded, time.Minute},
		"silent after two":     {2, StreamFault{Silent: true}, 2, codes.DeadlineExceeded, time.Minute},
	} {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, Options{})
				s.commit(standSet("mail/a", "n=1"), standSet("mail/b", "n=1"))
				s.server.SetFaults(Faults{Stream: func(method string, sent int) StreamFault {
					if method != "BatchGetDocuments" {
						t.Errorf("asked for %q", method)
					}
					if sent == test.at {
						return test.fault
					}
					return StreamFault{}
				}})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start := time.Now()
				n, err := s.batchGet(ctx, "mail/a", "mail/b", "mail/c")
				if n != test.answer || status.Code(err) != test.code || time.Since(start) != test.took {
					t.Errorf("%d answers, %v after %v", n, err, time.Since(start))
				}
			})
		})
	}
}

func (s *stand) batchGet(ctx context.Context, paths ...string) (answers int, err error) {
	r := &pb.BatchGetDocumentsRequest{Database: standDatabase}
	for _, path := range paths {
		r.Documents = append(r.Documents, standRoot+"/"+path)
	}
	stream, err := s.client.BatchGetDocuments(ctx, r)
	if err != nil {
		return 0, err
	}
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return answers, nil
		} else if err != nil {
			return answers, err
		}
		answers++
	}
}

// TestSilentListen holds back everything, tokens included, and the stream does
// not keep the server from ending.
func TestSilentListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{stand: newStand(t, Options{})}
		s.do("listen")
		s.do("add 1 from=mail")
		synctest.Wait()
		s.received()
		s.server.SetFaults(Faults{Stream: func(string, int) StreamFault { return StreamFault{Silent: true} }})
		s.do("set mail/a n=1; set mail/b n=1")
		s.do("wait 10m")
		if got := strings.Join(s.received(), ", "); got != "DOC mail/a n=1 for 1" { // the fault is asked for after it
			t.Errorf("received %q", got)
		}
	})
}
