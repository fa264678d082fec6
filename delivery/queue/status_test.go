package queue

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"postrider/delivery"
	"postrider/delivery/firestored"
)

func TestStatusIsOneReadOfTwoFields(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	meter := s.Meter()
	record, request := delivery.Fields{"state": "SUCCESS"}, delivery.Fields{"digest": "d"}
	f := delivery.Fields{"to": "a", "message": delivery.Fields{"subject": "s"}, "delivery": record, "request": request}
	before := time.Now().Add(-time.Second)
	if err := s.Create(t.Context(), "a b~ü", f); err != nil {
		t.Fatal(err)
	}
	served, counted := s.server.Usage(), meter.Usage()
	got, added, err := s.Status(t.Context(), "a b~ü")
	if err != nil || got.ID != "a b~ü" || !reflect.DeepEqual(got.Fields, delivery.Fields{"delivery": record, "request": request}) {
		t.Errorf("%+v, %v", got, err)
	}
	if added.Before(before) || !added.Equal(got.UpdateTime) {
		t.Errorf("added at %v, updated at %v", added, got.UpdateTime)
	}
	if now := s.server.Usage(); now.Reads-served.Reads != 1 || now.Requests-served.Requests != 1 {
		t.Errorf("it cost %+v after %+v", now, served)
	}
	if cost := meter.Usage().Less(counted); cost != (Usage{Reads: 1, Requests: 1}) {
		t.Errorf("the meter counts %+v", cost)
	}
}

func TestStatusOfWhatIsNotThere(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	for id, requests := range map[string]int64{
		"none": 1, strings.Repeat("x", 1500): 1, "...": 1, "__": 1,
		"": 0, ".": 0, "..": 0, "a/b": 0, "a/b/c": 0, "/": 0, "__a__": 0, "____": 0,
		"__retry-abcdefghij0123456789__": 0, strings.Repeat("x", 1501): 0, "\xff": 0,
	} {
		before := s.server.Usage().Requests
		if _, _, err := s.Status(t.Context(), id); !errors.Is(err, delivery.ErrGone) {
			t.Errorf("%.20q: %v", id, err)
		}
		if got := s.server.Usage().Requests - before; got != requests {
			t.Errorf("%.20q: %d requests", id, got)
		}
	}
}

func TestStatusGivesUp(t *testing.T) {
	for name, fault := range map[string]firestored.CallFault{
		"away":          {Refuse: codes.Unavailable},
		"not permitted": {Refuse: codes.PermissionDenied},
		"no answer":     {Late: time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, stop := stacked(t, firestored.Options{})
			defer stop()
			faulty(s, "GetDocument", always(fault))
			began := time.Now()
			if _, _, err := s.Status(t.Context(), "a"); err == nil || errors.Is(err, delivery.ErrGone) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(began); took > callTimeout {
				t.Errorf("%s: it took %v", name, took)
			}
		})
	}
}
