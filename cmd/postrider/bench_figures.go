package main

import (
	"strconv"
	"time"
)

// lasting returns seconds in a unit that is easily read, with three digits.
func lasting(seconds float64) string {
	switch {
	case seconds <= 0:
		return "0"
	case seconds < 1e-3:
		return digits(seconds*1e6) + " µs"
	case seconds < 1:
		return digits(seconds*1e3) + " ms"
	case seconds < 100:
		return digits(seconds) + " s"
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// digits returns a number that is not negative with three digits, or as many as
// it has before the point.
func digits(v float64) string {
	switch {
	case v >= 99.95:
		return grouped(int64(v + .5))
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// sized returns bytes in a unit that is easily read.
func sized(bytes float64) string {
	units := []string{"B", "KB", "MB", "GB"}
	for bytes >= 1000 && len(units) > 1 {
		bytes, units = bytes/1000, units[1:]
	}
	return digits(bytes) + " " + units[0]
}

// grouped returns a number that is not negative with commas between thousands.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
