package queue

import (
	"context"
	"crypto/rand"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"github.com/rs/zerolog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"postrider/delivery"
	"postrider/delivery/deliverytest"
)

// stored is a mail collection in the emulator: the queue under test, and the
// SDK's own client beside it, as an application uses it.
type stored struct {
	*Queue
	t   *testing.T
	sdk *firestore.Client
	o   Options
}

// open returns an empty collection in a project of its own: the emulator slows
// down with what was deleted.
func open(t *testing.T, mail string) *stored {
	t.Helper()
	host := os.Getenv("FIRESTORE_EMULATOR_HOST")
	if host == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("FIRESTORE_EMULATOR_HOST is not set: the emulator tests can't run")
		}
		t.Skip("FIRESTORE_EMULATOR_HOST is not set: run make test")
	}
	o := Options{
		Project: "queue-" + strings.ToLower(rand.Text()[:12]), Mail: mail, Users: "users", Templates: "templates",
		State: "_postrider", Emulator: host, Forgetful: true, Log: zerolog.Nop(),
	}
	q, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	sdk, err := firestore.NewClient(t.Context(), o.Project)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		_ = sdk.Close()
	})
	return &stored{Queue: q, t: t, sdk: sdk, o: o}
}

func (s *stored) Put(id string, f delivery.Fields) {
	s.t.Helper()
	if _, err := s.sdk.Collection(s.o.Mail).Doc(id).Set(s.t.Context(), f); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stored) Get(id string) delivery.Fields {
	s.t.Helper()
	d, err := s.sdk.Collection(s.o.Mail).Doc(id).Get(s.t.Context())
	if status.Code(err) == codes.NotFound {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Data()
}

func (s *stored) Delete(id string) {
	s.t.Helper()
	if _, err := s.sdk.Collection(s.o.Mail).Doc(id).Delete(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func TestQueueConforms(t *testing.T) {
	deliverytest.Conform(t, func(t *testing.T) deliverytest.Subject { return open(t, "mail") })
}

func TestNestedCollectionConforms(t *testing.T) {
	deliverytest.Conform(t, func(t *testing.T) deliverytest.Subject { return open(t, "tenants/t1/outbox") })
}

func TestOtherDatabase(t *testing.T) {
	s := open(t, "mail")
	s.o.Database = "second"
	q, err := Open(t.Context(), s.o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	sdk, err := firestore.NewClientWithDatabase(t.Context(), s.o.Project, s.o.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sdk.Close() }()
	if _, err := sdk.Collection("mail").Doc("a").Set(t.Context(), map[string]any{"to": "a@b.test"}); err != nil {
		t.Fatal(err)
	}
	var ids []string
	err = q.Scan(t.Context(), func(_ context.Context, snap delivery.Snapshot) error {
		ids = append(ids, snap.ID)
		return nil
	})
	if err != nil || len(ids) != 1 {
		t.Errorf("found %v, %v", ids, err)
	}
}

func TestTemplatesFollowEditsAndDeletions(t *testing.T) {
	s := open(t, "mail")
	templates := s.sdk.Collection("templates")
	set := func(id, text string) {
		t.Helper()
		if _, err := templates.Doc(id).Set(t.Context(), map[string]any{"text": text}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	content, ended := make(chan map[string]delivery.Fields, 100), make(chan error, 1)
	go func() {
		ended <- s.WatchTemplates(ctx, func(m map[string]delivery.Fields) { content <- m })
	}()
	await := func(want func(map[string]delivery.Fields) bool) {
		t.Helper()
		for {
			select {
			case m := <-content:
				if want(m) {
					return
				}
			case <-time.After(30 * time.Second):
				t.Fatal("the change was not passed on")
			}
		}
	}
	await(func(m map[string]delivery.Fields) bool { return len(m) == 0 })
	set("a", "one")
	await(func(m map[string]delivery.Fields) bool { return m["a"]["text"] == "one" })
	set("a", "two")
	await(func(m map[string]delivery.Fields) bool { return m["a"]["text"] == "two" })
	if _, err := templates.Doc("a").Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(func(m map[string]delivery.Fields) bool { return len(m) == 0 })
	cancel()
	<-ended
}

func TestEmailsOfUsers(t *testing.T) {
	s := open(t, "mail")
	for id, email := range map[string]any{"u1": "u1@users.test", "u2": int64(5), "u3": "", "u4": nil, "u5": []any{"a@users.test"}} {
		if _, err := s.sdk.Collection("users").Doc(id).Set(t.Context(), map[string]any{"email": email, "name": "n"}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Emails(t.Context(), []string{"u1", "u2", "u3", "u4", "u5", "nobody"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got["u1"] != "u1@users.test" || got["u2"] != int64(5) {
		t.Errorf("got %v", got)
	}
	want := `Error: 3 INVALID_ARGUMENT: Resource id "__x__" is invalid because it is reserved.`
	if _, err := s.Emails(t.Context(), []string{"__x__"}); err == nil || err.Error() != want {
		t.Errorf("a reserved ID: %v", err)
	}
}

func TestEveryTypeOfValueComesThrough(t *testing.T) {
	s := open(t, "mail")
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	want := delivery.Fields{
		"null": nil, "bool": true, "int": int64(-3), "double": 2.5, "text": "ü", "bytes": []byte{0, 255}, "time": at,
		"geo": delivery.GeoPoint{Latitude: 1.5, Longitude: -2}, "ref": delivery.Reference{Path: "users/u1"},
		"list": []any{int64(1), "x", nil}, "map": delivery.Fields{"a": delivery.Fields{}},
	}
	m, err := encodeFields(want, s.database)
	if err != nil {
		t.Fatal(err)
	}
	got := fieldsOf(m)
	for name := range want {
		if g, w := got[name], want[name]; !reflect.DeepEqual(g, w) {
			t.Errorf("%s: got %#v, want %#v", name, g, w)
		}
	}
	if _, err := appendValue(nil, struct{}{}, ""); err == nil {
		t.Error("a type that Firestore lacks was encoded")
	}
}
