package api

import (
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// sink is a body that notes how much room it is read into.
type sink struct {
	left, room int
}

func (s *sink) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	s.room = max(s.room, len(p))
	n := min(len(p), s.left)
	s.left -= n
	return n, nil
}

func (s *sink) Close() error { return nil }

func TestAStrangersBodyIsReadAndNotKept(t *testing.T) {
	const most = 64 << 10 // that it is read into
	for name, r := range map[string]*http.Request{
		"not signed": request(t, "POST", "/emails:send?api-version="+email2021, ""),
		"no token":   request(t, "GET", armPath+"m1"+armQuery, ""),
	} {
		s := &sink{left: maxBody}
		r.Body = s
		if got := newOffice().code(t, r); !strings.HasPrefix(got, "401") {
			t.Errorf("%s: %s", name, got)
		}
		if s.left > 0 || s.room > most {
			t.Errorf("%s: %d bytes of the body were not read, the others into %d", name, s.left, s.room)
		}
	}
}

func TestNothingHasSoLongAnAddress(t *testing.T) {
	o := newOffice()
	for target, want := range map[string]bool{
		"/mail/" + strings.Repeat("%41", 1500):       true,
		"/mail/m1?" + strings.Repeat("x", maxTarget): false,
		"/" + strings.Repeat("a/", maxTarget):        false,
	} {
		found, _ := o.find(request(t, "GET", target, ""))
		if got := found != nil; got != want {
			t.Errorf("%d bytes: %v", len(target), got)
		}
	}
}

func TestWaitingIsToldInWholeSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "1", 0: "1", 1: "1", time.Second: "1", time.Second + 1: "2", time.Hour: "3600", math.MaxInt64: "9223372037",
	} {
		if got := seconds(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

func TestNothingIsReadAfterTheFirstFault(t *testing.T) {
	var b body
	list, read := b.object([]byte(`{"a":[{},{},{}]}`)).at("a"), 0
	for e := range b.elements(list) {
		read++
		b.filled(e.at("name"))
	}
	if read != 1 || b.fault.Target != "a[0].name" {
		t.Errorf("%d elements, %v", read, b.fault)
	}
}

func TestBodiesWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		big := func() *http.Request {
			return signed(t, "POST", "/emails:send?api-version="+email2021, strings.Repeat("x", maxBody))
		}
		_ = o.bodies.Acquire(t.Context(), maxBodies-maxBody+1)
		if got := o.code(t, big()); got != "503 ServiceUnavailable" {
			t.Errorf("without room: %s", got)
		}
		if got := o.code(t, signed(t, "GET", "/mail/m1", "")); got != "404 NotFound" {
			t.Errorf("without a body: %s", got)
		}
		time.AfterFunc(roomTime-1, func() { o.bodies.Release(1) })
		for range 2 {
			if got := o.code(t, big()); got != "400 InvalidRequest" {
				t.Errorf("with room: %s", got)
			}
		}
	})
}
