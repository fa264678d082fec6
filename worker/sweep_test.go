package worker

import (
	"testing"
	"time"
)

func TestSweepsAreAQuarterApartAtMost(t *testing.T) {
	for fraction, want := range map[float64]time.Duration{0: 30 * time.Second, 0.5: 40 * time.Second, 1: 50 * time.Second} {
		if got := jittered(40*time.Second, fraction); got != want {
			t.Errorf("at %v: %v, want %v", fraction, got, want)
		}
	}
}
