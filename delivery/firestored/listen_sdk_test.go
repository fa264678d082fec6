package firestored

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
)

func (s *stand) sdk() *firestore.Client {
	s.t.Helper()
	c, err := firestore.NewClient(context.Background(), "demo", option.WithGRPCConn(s.conn))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// sdkSnapshot returns the documents and the changes of a snapshot as text.
func sdkSnapshot(t *testing.T, snapshot *firestore.QuerySnapshot) string {
	t.Helper()
	docs, err := snapshot.Documents.GetAll()
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, d := range docs {
		words = append(words, fmt.Sprintf("%s=%v", d.Ref.ID, d.Data()["n"]))
	}
	words = append(words, "|")
	for _, c := range snapshot.Changes {
		words = append(words, []string{"+", "-", "*"}[c.Kind]+c.Doc.Ref.ID)
	}
	return strings.Join(words, " ")
}

// TestGoSDKListens follows a query by the Go SDK's Snapshots, whose stream is
// cut: it resumes, and is billed only for what it missed.
func TestGoSDKListens(t *testing.T) {
	t.Setenv("FIRESTORE_EMULATOR_HOST", "") // or the SDK dials it too, in the bubble
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		var cut atomic.Bool
		s.server.SetFaults(Faults{Stream: func(string, int) StreamFault {
			if cut.Swap(false) {
				return StreamFault{Cut: codes.Unavailable}
			}
			return StreamFault{}
		}})
		s.commit(standSet("mail/a", "n=1"), standSet("mail/b", "n=2"), standSet("mail/c", "n=3"))
		snapshots := s.sdk().Collection("mail").Where("n", ">=", 1).OrderBy("n", firestore.Asc).Snapshots(t.Context())
		defer snapshots.Stop()
		var got []string
		next := func() {
			snapshot, err := snapshots.Next()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, sdkSnapshot(t, snapshot))
		}
		next()
		s.commit(standSet("mail/a", "n=4"), standDelete("mail/b"))
		next()
		cut.Store(true)
		s.commit(standSet("mail/d", "n=5"), standSet("mail/c", "n=0"))
		next()
		want := []string{"a=1 b=2 c=3 | +a +b +c", "c=3 a=4 | -b *a", "a=4 d=5 | -c +d"}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		// Three at the start, a, the message that was cut off, then d and c.
		if reads := s.server.Usage().Reads; reads != 3+1+1+2 {
			t.Errorf("billed %d reads", reads)
		}
	})
}

// TestGoSDKStartsOverOnMismatch loses a change: by the existence filter the SDK
// sees, once it resumes, that it does not know all documents, and asks again.
func TestGoSDKStartsOverOnMismatch(t *testing.T) {
	t.Setenv("FIRESTORE_EMULATOR_HOST", "") // or the SDK dials it too, in the bubble
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		var cut atomic.Bool
		s.server.SetFaults(Faults{
			Change: func(path string) ChangeFault {
				if path == "mail/lost" {
					return Lost
				}
				return Intact
			},
			Stream: func(string, int) StreamFault {
				if cut.Swap(false) {
					return StreamFault{Cut: codes.Unavailable}
				}
				return StreamFault{}
			},
		})
		s.commit(standSet("mail/a", "n=1"))
		snapshots := s.sdk().Collection("mail").Snapshots(t.Context())
		defer snapshots.Stop()
		var got []string
		for _, path := range []string{"", "mail/lost", "mail/b", "mail/c"} {
			cut.Store(path == "mail/c")
			if path != "" {
				s.commit(standSet(path, "n=1"))
				synctest.Wait()
			}
			if path == "mail/lost" {
				continue
			}
			snapshot, err := snapshots.Next()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, sdkSnapshot(t, snapshot))
		}
		want := []string{"a=1 | +a", "a=1 b=1 | +b", "a=1 b=1 c=1 lost=1 | +c +lost"}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

// TestGoSDKListensToADocument follows a document that comes and goes.
func TestGoSDKListensToADocument(t *testing.T) {
	t.Setenv("FIRESTORE_EMULATOR_HOST", "") // or the SDK dials it too, in the bubble
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		snapshots := s.sdk().Doc("mail/a").Snapshots(t.Context())
		defer snapshots.Stop()
		var got []string
		for _, n := range []string{"", "n=1", "n=2", ""} {
			switch {
			case n != "":
				s.commit(standSet("mail/a", n))
			case len(got) > 0:
				s.commit(standDelete("mail/a"))
			}
			snapshot, err := snapshots.Next()
			if err != nil && snapshot == nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(snapshot.Exists(), snapshot.Data()["n"]))
		}
		want := []string{"false <nil>", "true 1", "true 2", "false <nil>"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
