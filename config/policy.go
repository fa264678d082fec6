package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"postrider/delivery"
)

// policy reads when documents expire, when a mail is tried again, and how often
// something may be tried.
func (r *reader) policy() delivery.Policy {
	p := delivery.Policy{
		TTL:          r.ttl(),
		MaxAttempts:  int(r.number("MAX_ATTEMPTS", 1, 100)),
		MinDelay:     r.duration("RETRY_MIN_DELAY", time.Second, 24*time.Hour),
		MaxDelay:     r.duration("RETRY_MAX_DELAY", time.Second, 168*time.Hour),
		MaxAge:       r.duration("RETRY_MAX_AGE", time.Second, 720*time.Hour),
		RetryLapsed:  r.choice("RETRY_LAPSED", "never", "before-data") == "before-data",
		PerDocument:  r.rate("MAX_PER_DOCUMENT"),
		PerRecipient: r.rate("MAX_PER_RECIPIENT"),
	}
	// A default gives way to what is set.
	if !r.isSet("RETRY_MAX_DELAY") {
		p.MaxDelay = min(max(p.MaxDelay, p.MinDelay), p.MaxAge)
	}
	if !r.isSet("RETRY_MIN_DELAY") {
		p.MinDelay = min(p.MinDelay, p.MaxDelay)
	}
	if r.isSet("RETRY_MAX_DELAY") {
		r.order("RETRY_MIN_DELAY", p.MinDelay, "RETRY_MAX_DELAY", p.MaxDelay)
		r.order("RETRY_MAX_DELAY", p.MaxDelay, "RETRY_MAX_AGE", p.MaxAge)
	} else {
		r.order("RETRY_MIN_DELAY", p.MinDelay, "RETRY_MAX_AGE", p.MaxAge)
	}
	for _, name := range [...]string{"RETRY_MIN_DELAY", "RETRY_MAX_DELAY", "RETRY_MAX_AGE"} {
		if r.isSet(name) && p.MaxAttempts == 1 && !p.RetryLapsed {
			r.warn(name, "has no effect", "set MAX_ATTEMPTS to 2 or more, or RETRY_LAPSED=before-data, or unset it")
		}
	}
	return p
}

// order refuses a time that is longer than another.
func (r *reader) order(name string, d time.Duration, longer string, limit time.Duration) {
	if d > limit {
		r.fault(name, fmt.Sprintf("is %s, and %s is %s", short(d), longer, short(limit)), "lower "+name+" or raise "+longer)
	}
}

// What a rate may be.
const (
	maxRate   = 1_000_000
	maxWithin = 720 * time.Hour
)

// rate reads how much may happen within a time, as 20/1h or 20/hour; none sets no
// limit.
func (r *reader) rate(name string) delivery.Rate {
	v := r.text(name)
	if v == "none" {
		return delivery.Rate{}
	}
	if rate, ok := parseRate(v); ok {
		return rate
	}
	r.fault(name, "is "+quote(v), fmt.Sprintf("write a number from 1 to %d, a slash and a time from 1s to %s, or second, minute, hour or day, as 20/1h or 5/minute, or none for no limit", maxRate, short(maxWithin)))
	rate, _ := parseRate(r.rows[name].Default)
	return rate
}

func parseRate(v string) (delivery.Rate, bool) {
	number, within, _ := strings.Cut(v, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n < 1 || n > maxRate {
		return delivery.Rate{}, false
	}
	switch within {
	case "second":
		within = "1s"
	case "minute":
		within = "1m"
	case "hour":
		within = "1h"
	case "day":
		within = "24h"
	}
	per, err := time.ParseDuration(within)
	if err != nil || per < time.Second || per > maxWithin {
		return delivery.Rate{}, false
	}
	return delivery.Rate{N: int(n), Per: per}, true
}

// ttl reads when documents expire. The limits keep the time within what
// Firestore stores, from the year 1 to 9999.
func (r *reader) ttl() delivery.TTL {
	const name = "TTL_EXPIRE_VALUE"
	unit := r.choice("TTL_EXPIRE_TYPE", "never", "hour", "day", "week", "month", "year")
	if unit == "never" {
		return delivery.TTL{}
	}
	most := 100_000
	switch unit {
	case "month":
		most = 12_000
	case "year":
		most = 1_000
	}
	v := r.required(name, "7 to keep documents for 7 "+unit+"s")
	if v == "" {
		return delivery.TTL{}
	}
	n, ok := leadingNumber(v)
	switch {
	case !ok || n < -most || n > most:
		r.fault(name, "is "+quote(v), fmt.Sprintf("write a whole number from 0 to %d", most))
		return delivery.TTL{}
	case strconv.Itoa(n) != v:
		r.warn(name, fmt.Sprintf("is %s and counts as %d", quote(v), n), "write a whole number")
	case n < 0:
		r.warn(name, "is "+quote(v)+": documents expire before they are sent", "write a whole number from 0 to "+strconv.Itoa(most))
	}
	return delivery.TTL{Unit: unit, Value: n}
}

// leadingNumber reads the whole number that a value begins with, as
// JavaScript's parseInt does: decimal, or hexadecimal after 0x.
func leadingNumber(v string) (int, bool) {
	digits, base := strings.TrimLeft(v, "+-"), 10
	if len(v)-len(digits) > 1 {
		return 0, false
	}
	if rest := strings.TrimPrefix(strings.ToLower(digits), "0x"); len(rest) < len(digits) {
		digits, base = rest, 16
	}
	end := 0
	for end < len(digits) {
		if _, err := strconv.ParseUint(digits[end:end+1], base, 8); err != nil {
			break
		}
		end++
	}
	n, err := strconv.ParseInt(digits[:end], base, 32)
	if strings.HasPrefix(v, "-") {
		n = -n
	}
	return int(n), err == nil
}
