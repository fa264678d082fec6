package firestored

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func FuzzToken(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(token{era: 1, at: 2}.encode())
	f.Add(token{era: 1<<63 + 5, at: -1, targets: []uint64{7, 1 << 60}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		read, ok := parseToken(b)
		if ok && !bytes.Equal(read.encode(), b) {
			t.Errorf("%x was read as %+v", b, read)
		}
	})
}

func TestTokenSaysWhatItWasMadeOf(t *testing.T) {
	for _, want := range []token{{era: 1, at: 2}, {era: 1 << 63, at: 1 << 50, targets: []uint64{3, 1<<64 - 1}}} {
		b := want.encode()
		got, ok := parseToken(b)
		if !ok || got.era != want.era || got.at != want.at || !slices.Equal(got.targets, want.targets) {
			t.Errorf("got %+v %v, want %+v", got, ok, want)
		}
		for i := range b {
			damaged := bytes.Clone(b)
			damaged[i] ^= 1
			if _, ok := parseToken(damaged); ok {
				t.Errorf("a token with byte %d damaged is taken", i)
			}
			if _, ok := parseToken(b[:i]); ok {
				t.Errorf("a token cut to %d bytes is taken", i)
			}
		}
	}
}

func TestTokenOfAnotherServerIsTooOld(t *testing.T) {
	a, b := New(Options{}), New(Options{})
	now := time.Now().UnixMicro()
	given := token{era: a.extras.era(), at: now, targets: []uint64{1}}.encode()
	if at, fresh, err := a.resumeToken(given, 1, now); at != now || !fresh || err != nil {
		t.Errorf("its own: %d %v %v", at, fresh, err)
	}
	if _, fresh, err := b.resumeToken(given, 1, now); fresh || err != nil {
		t.Errorf("another's: %v %v", fresh, err)
	}
}

func TestReadTimeIsChecked(t *testing.T) {
	now := time.Now().UnixMicro()
	minutes := time.Minute.Microseconds()
	for what, test := range map[string]struct {
		at      *timestamppb.Timestamp
		expired int64
		want    codes.Code
	}{
		"now":                         {timestamp(now), 0, codes.OK},
		"a microsecond to come":       {timestamp(now + 1), 0, codes.InvalidArgument},
		"as old as it may be":         {timestamp(now - 30*minutes), 0, codes.OK},
		"a microsecond too old":       {timestamp(now - 30*minutes - 1), 0, codes.FailedPrecondition},
		"as old as what has expired":  {timestamp(now - 5), now - 5, codes.FailedPrecondition},
		"after what has expired":      {timestamp(now - 4), now - 5, codes.OK},
		"finer than microseconds":     {&timestamppb.Timestamp{Seconds: now / 1e6, Nanos: 1}, 0, codes.InvalidArgument},
		"before the calendar's start": {&timestamppb.Timestamp{Seconds: -1 << 40}, 0, codes.InvalidArgument},
	} {
		s := New(Options{})
		s.extras.expired.Store(test.expired)
		at, err := s.resumeTime(test.at, now)
		if status.Code(err) != test.want || err == nil && at != test.at.AsTime().UnixMicro() {
			t.Errorf("%s: %d %v", what, at, err)
		}
	}
}
