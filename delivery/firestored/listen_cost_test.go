package firestored

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// TestListenBills compares the reads of listeners with what
// https://firebase.google.com/docs/firestore/pricing says of them.
func TestListenBills(t *testing.T) {
	for rule, test := range map[string]struct {
		script string
		reads  int64
	}{
		"a document of a result": {`
			> set mail/a n=1; set mail/b n=1
			> listen
			> add 1 from=mail`, 2},
		"a result without documents": {`
			> listen
			> add 1 from=mail`, 1},
		"a document that is missing": {`
			> set mail/a n=1
			> listen
			> add 1 docs=mail/a,mail/b,mail/c`, 3},
		"a change, and each target by itself": {`
			> listen
			> add 1 from=mail
			> add 2 from=mail atleast=n:1
			> set mail/a n=1`, 4},
		"a change of state, not of steps, after a resumption": {`
			> set mail/a n=1; set mail/b n=1
			> listen
			> add 1 from=mail
			> keep T
			> stop
			> set mail/a n=2
			> set mail/a n=3
			> listen
			> add 1 from=mail token=T`, 3},
		"a removal by a change": {`
			> set mail/a n=1
			> listen
			> add 1 from=mail atleast=n:1
			> set mail/a n=0`, 2},
		"a removal in another target's message": {`
			> set mail/a n=1
			> listen
			> add 1 from=mail
			> add 2 from=mail atleast=n:1
			> set mail/a n=0`, 4},
		"no deletion": {`
			> set mail/a n=1
			> listen
			> add 1 from=mail
			> delete mail/a`, 1},
		"no time": {`
			> set mail/a n=1
			> listen
			> add 1 from=mail
			> wait 24h`, 1},
	} {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{stand: newStand(t, Options{}), kept: map[string]*pb.TargetChange{}}
				for line := range strings.Lines(test.script) {
					if command, ok := strings.CutPrefix(strings.TrimSpace(line), "> "); ok {
						s.do(command)
						synctest.Wait()
					}
				}
				if got := s.server.Usage().Reads; got != test.reads {
					t.Errorf("billed %d reads, want %d", got, test.reads)
				}
			})
		})
	}
}

// TestSlowListener leaves a listener behind by more than the log keeps. It costs
// no memory, and when it reads on it is reset.
func TestSlowListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{stand: newStand(t, Options{History: 20})}
		stream, err := s.client.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		target := s.scriptTarget("1", []string{"from=mail"})
		err = stream.Send(&pb.ListenRequest{Database: standDatabase, TargetChange: &pb.ListenRequest_AddTarget{AddTarget: target}})
		if err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("x", 100_000)
		for i := range 100 {
			s.commit(standSet("mail/a", fmt.Sprint("n=", i), "text="+long))
			synctest.Wait()
		}
		var lines []string
		for len(lines) == 0 || !strings.HasPrefix(lines[len(lines)-1], "RESET") {
			r, err := stream.Recv()
			if err != nil {
				t.Fatalf("after %q: %v", lines, err)
			}
			lines = append(lines, transcript(r))
		}
		if len(lines) > 100 {
			t.Errorf("%d messages were kept for a listener that did not read", len(lines))
		}
		var rest []string
		for range 3 {
			r, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			rest = append(rest, transcript(r))
		}
		want := []string{"DOC mail/a n=99 text=0 for 1", "CURRENT 1", "SNAPSHOT"}
		if !slices.Equal(rest, want) {
			t.Errorf("after the reset: %q, want %q", rest, want)
		}
	})
}

func BenchmarkListenDelta(b *testing.B) {
	s := newStand(b, Options{})
	c := &scripted{stand: s}
	stream, err := s.client.Listen(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	target := c.scriptTarget("1", []string{"from=mail"})
	err = stream.Send(&pb.ListenRequest{Database: standDatabase, TargetChange: &pb.ListenRequest_AddTarget{AddTarget: target}})
	if err != nil {
		b.Fatal(err)
	}
	until := func(line string) {
		for {
			r, err := stream.Recv()
			if err != nil {
				b.Fatal(err)
			}
			if strings.HasPrefix(transcript(r), line) {
				return
			}
		}
	}
	until("SNAPSHOT")
	i := 0
	for b.Loop() {
		i++
		s.commit(standSet("mail/a", fmt.Sprint("n=", i)))
		until("SNAPSHOT")
	}
}
