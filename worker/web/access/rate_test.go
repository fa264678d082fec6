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
	for range 10 { // what is refused does not count
		if wait, ok := r.Allow(0, testNow); ok || wait != 20*time.Second {
			t.Errorf("beyond the rate: %s, %v", wait, ok)
		}
	}
	if wait, ok := r.Allow(1, testNow); !ok || wait != 0 {
		t.Errorf("another key: %s, %v", wait, ok)
	}
	if wait, ok := r.Allow(0, testNow.Add(15*time.Second)); ok || wait != 5*time.Second {
		t.Errorf("before the wait is over: %s, %v", wait, ok)
	}
	if wait, ok := r.Allow(0, testNow.Add(20*time.Second)); !ok || wait != 0 {
		t.Errorf("after the wait: %s, %v", wait, ok)
	}
	for _, unknown := range []int{-1, 2} {
		if wait, ok := r.Allow(unknown, testNow); ok || wait != time.Minute {
			t.Errorf("key %d: %s, %v", unknown, wait, ok)
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
