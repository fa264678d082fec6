package corpus

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/genproto/googleapis/type/latlng"
)

// toFirestore turns a case's JSON into what the SDK takes. A number without a
// fraction is an integer, as for the JavaScript SDK; an object with one key
// that begins with $ stands for a type JSON lacks.
func toFirestore(v any, db *firestore.Client, put func(string) string) any {
	switch v := v.(type) {
	case string:
		return put(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
		return v
	case list:
		out := make(list, len(v))
		for i, x := range v {
			out[i] = toFirestore(x, db, put)
		}
		return out
	case object:
		if typed, ok := typedValue(v, db); ok {
			return typed
		}
		out := make(object, len(v))
		for k, x := range v {
			out[k] = toFirestore(x, db, put)
		}
		return out
	default:
		return v
	}
}

// typedValue reads {"$ts": …} and its like.
func typedValue(o object, db *firestore.Client) (any, bool) {
	if len(o) != 1 {
		return nil, false
	}
	for k, v := range o {
		switch k {
		case "$ts":
			return timestamp(v), true
		case "$now":
			ms, _ := v.(float64)
			return time.Now().Add(time.Duration(ms) * time.Millisecond).Truncate(time.Millisecond), true
		case "$bytes":
			b, err := base64.StdEncoding.DecodeString(asString(v))
			return b, err == nil
		case "$geo":
			at := asList(v)
			lat, _ := at[0].(float64)
			lng, _ := at[1].(float64)
			return &latlng.LatLng{Latitude: lat, Longitude: lng}, true
		case "$ref":
			return db.Doc(asString(v)), true
		case "$delete":
			return firestore.Delete, true
		case "$nan":
			return math.NaN(), true
		}
	}
	return nil, false
}

// timestamp reads milliseconds or an ISO date.
func timestamp(v any) time.Time {
	if ms, ok := v.(float64); ok {
		return time.UnixMilli(int64(ms)).UTC()
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, asString(v)); err == nil {
			return t.Truncate(time.Millisecond)
		}
	}
	return time.Time{}
}

// fromFirestore turns what the SDK returned into JSON, the way back of
// toFirestore.
func fromFirestore(v any, take func(string) string) any {
	switch v := v.(type) {
	case string:
		return take(v)
	case time.Time:
		return object{"$ts": float64(v.UnixMilli())}
	case []byte:
		return object{"$bytes": base64.StdEncoding.EncodeToString(v)}
	case *latlng.LatLng:
		return object{"$geo": list{v.GetLatitude(), v.GetLongitude()}}
	case *firestore.DocumentRef:
		_, path, _ := strings.Cut(v.Path, "/documents/")
		return object{"$ref": path}
	case int64:
		return float64(v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil // as in JSON
		}
		return v
	case list:
		out := make(list, len(v))
		for i, x := range v {
			out[i] = fromFirestore(x, take)
		}
		return out
	case object:
		out := make(object, len(v))
		for k, x := range v {
			out[k] = fromFirestore(x, take)
		}
		return out
	default:
		return v
	}
}

// maskTimes replaces the times of a delivery field by what they mean. t0 is
// when the documents were about to be added, now is now.
func maskTimes(v any, t0, now time.Time) any {
	d, ok := v.(object)
	if !ok {
		return v
	}
	start, hasStart := millis(d["startTime"])
	out := object{}
	for k, v := range d {
		if ms, ok := millis(v); ok {
			v = object{"$ts": meaning(k, ms, start, hasStart, float64(t0.UnixMilli()), float64(now.UnixMilli()))}
		}
		out[k] = v
	}
	return out
}

func millis(v any) (float64, bool) {
	o := asObject(v)
	if len(o) != 1 {
		return 0, false
	}
	ms, ok := o["$ts"].(float64)
	return ms, ok
}

func meaning(key string, ms, start float64, hasStart bool, t0, now float64) any {
	const second = 1000
	switch {
	case key == "expireAt":
		if label, ok := sinceStart(ms, start); ok && hasStart {
			return label
		}
		return ms
	case key == "leaseExpireTime":
		if math.Abs(ms-now-60*second) < 20*second {
			return "processing+60s"
		}
		if ms < t0-500 {
			return "past(preset)"
		}
		return "future(preset)"
	case math.Abs(ms-now) < 60*second:
		return "now"
	case ms < t0:
		return "past(preset)"
	default:
		return ms
	}
}

// sinceStart names the time from start to ms in the largest unit that fits:
// years or months of the calendar, else weeks, days or hours.
func sinceStart(ms, start float64) (string, bool) {
	if ms == start {
		return "startTime+0", true
	}
	a, b := time.UnixMilli(int64(start)).UTC(), time.UnixMilli(int64(ms)).UTC()
	if months := (b.Year()-a.Year())*12 + int(b.Month()) - int(a.Month()); months > 0 && a.AddDate(0, months, 0).Equal(b) {
		if months%12 == 0 {
			return "startTime+" + strconv.Itoa(months/12) + "year", true
		}
		return "startTime+" + strconv.Itoa(months) + "month", true
	}
	for _, unit := range []struct {
		name   string
		length time.Duration
	}{{"week", 7 * 24 * time.Hour}, {"day", 24 * time.Hour}, {"hour", time.Hour}} {
		length := float64(unit.length.Milliseconds())
		if n := (ms - start) / length; n == math.Trunc(n) && n < 1000 {
			return "startTime+" + strconv.Itoa(int(n)) + unit.name, true
		}
	}
	return "", false
}
