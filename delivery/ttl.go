package delivery

import "time"

// TTL says when a document may be deleted by a Firestore TTL policy on
// delivery.expireAt: TTL_EXPIRE_TYPE and TTL_EXPIRE_VALUE. The zero TTL means
// never.
type TTL struct {
	Unit  string // "hour", "day", "week", "month" or "year"; anything else is never
	Value int
}

// ExpireAt returns the time that many units after start, and whether there is
// one. It reckons in UTC. A day that a month doesn't have runs over into the
// next month, as it does for the extension: 31 January and one month is 3 March
// (2 March in a leap year).
func (t TTL) ExpireAt(start time.Time) (time.Time, bool) {
	start = start.UTC()
	switch t.Unit {
	case "hour":
		return start.Add(time.Duration(t.Value) * time.Hour), true
	case "day":
		return start.AddDate(0, 0, t.Value), true
	case "week":
		return start.AddDate(0, 0, 7*t.Value), true
	case "month":
		return start.AddDate(0, t.Value, 0), true
	case "year":
		return start.AddDate(t.Value, 0, 0), true
	}
	return time.Time{}, false
}
