package delivery

import (
	"math"
	"slices"
	"strconv"
	"testing"
)

// testdata/numbers.json holds numbers, as their bits, and how Node writes them.
func TestNumbersAreWrittenAsByJavaScript(t *testing.T) {
	var cases [][2]string
	readJSON(t, "testdata/numbers.json", &cases)
	for _, c := range cases {
		bits, err := strconv.ParseUint(c[0], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if got := NumberString(math.Float64frombits(bits)); got != c[1] {
			t.Errorf("bits %s: got %s, want %s", c[0], got, c[1])
		}
	}
	for v, want := range map[float64]string{math.Inf(1): "Infinity", math.Inf(-1): "-Infinity"} {
		if got := NumberString(v); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := NumberString(math.NaN()); got != "NaN" {
		t.Errorf("got %s, want NaN", got)
	}
}

func TestWholeNumbersComeFirstAmongKeys(t *testing.T) {
	got := keys(Fields{"b": 1, "10": 1, "a": 1, "9": 1, "-1": 1, "01": 1, "4294967295": 1, "4294967294": 1})
	want := []string{"9", "10", "4294967294", "-1", "01", "4294967295", "a", "b"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
