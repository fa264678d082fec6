package queue

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func at(n int) place { return place{token: fmt.Append(nil, n)} }

// The mark passes what is settled, whatever the order, and nothing else.
func TestMarkStopsBeforeWhatIsNotSettled(t *testing.T) {
	var m marks
	low := func(want string) {
		t.Helper()
		if got, _ := m.lowest(); string(got.token) != want {
			t.Errorf("the mark is at %q, want %q", got.token, want)
		}
	}
	m.reached(at(1))
	low("1")
	a := m.pass()
	low("1")
	m.reached(at(2))
	low("1")
	b, c := m.pass(), m.pass()
	m.reached(at(3))
	m.reached(at(4)) // nothing in between
	d := m.pass()
	b()
	c()
	low("1")
	a()
	low("4")
	d()
	low("4") // d's stretch may grow
	e := m.pass()
	m.reached(at(5))
	low("4")
	e()
	low("5")
	if m.first != nil || m.last != nil {
		t.Error("stretches are left")
	}
}

// Whatever order documents are settled in, the mark is the last place before
// the first that is not, and no stretch is kept for nothing.
func TestMarkInAnyOrder(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		var m marks
		m.reached(at(0))
		type passed struct {
			after  int
			settle func()
		}
		var open []passed
		place := 0
		for range 500 {
			switch n := random.IntN(10); {
			case n < 4:
				open = append(open, passed{place, m.pass()})
			case n < 6:
				place++
				m.reached(at(place))
			case len(open) > 0:
				i := random.IntN(len(open))
				open[i].settle()
				open = append(open[:i], open[i+1:]...)
			}
			want := place
			for _, p := range open {
				want = min(want, p.after)
			}
			if got, _ := m.lowest(); string(got.token) != fmt.Sprint(want) {
				t.Fatalf("seed %d: the mark is at %s, want %d", seed, got.token, want)
			}
			stretches := 0
			for s := m.first; s != nil; s = s.next {
				stretches++
			}
			if stretches > len(open)+1 {
				t.Fatalf("seed %d: %d stretches for %d documents", seed, stretches, len(open))
			}
		}
	}
}
