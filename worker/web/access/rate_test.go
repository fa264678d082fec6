package access

import (
	"testing"
	"time"
)

func TestEachKeyHasARateOfItsOwn(t *testing.T) {
	r := NewRate(2, 3, time.Minute)
	for range 3 {
		if wait, ok := r.Allow(0, testNow); !ok || wait != 0 {
			t.Errorf("within the rate: %s, %v", wait, ok)
		}
	}
	if wait, ok := r.Allow(0, testNow); ok || wait != 20*time.Second {
		t.Errorf("beyond the rate: %s, %v", wait, ok)
	}
	if wait, ok := r.Allow(1, testNow); !ok || wait != 0 {
		t.Errorf("another key: %s, %v", wait, ok)
	}
	if wait, ok := r.Allow(0, testNow.Add(20*time.Second)); !ok || wait != 0 {
		t.Errorf("after the wait, for which what was refused does not count: %s, %v", wait, ok)
	}
}

func TestThoseWhoAreRefusedComeAgainInTurns(t *testing.T) {
	r := NewRate(1, 3, 3*time.Second)
	for range 3 {
		r.Allow(0, testNow)
	}
	for i := range 100 {
		want := min(time.Duration(i+1)*time.Second, time.Minute)
		if wait, ok := r.Allow(0, testNow); ok || wait != want {
			t.Fatalf("the %d. who is refused: %s, %v", i+1, wait, ok)
		}
	}
	for i := range 60 { // each of those who were told so finds its turn free
		if wait, ok := r.Allow(0, testNow.Add(time.Duration(i+1)*time.Second)); !ok {
			t.Fatalf("the %d. comes again: %s", i+1, wait)
		}
	}
	r = NewRate(1, 1, time.Hour)
	r.Allow(0, testNow)
	for range 2 {
		if wait, ok := r.Allow(0, testNow.Add(time.Minute)); ok || wait < 59*time.Minute || wait > time.Hour {
			t.Errorf("of one an hour: %s, %v", wait, ok)
		}
	}
}

func TestWithoutARateEverythingIsAllowed(t *testing.T) {
	for _, r := range []*Rate{NewRate(1, 0, time.Minute), NewRate(1, 0, 0)} {
		for range 1000 {
			if wait, ok := r.Allow(0, testNow); !ok || wait != 0 {
				t.Fatalf("%s, %v", wait, ok)
			}
		}
	}
}
