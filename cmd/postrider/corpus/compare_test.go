package corpus

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// difference is one place where what was seen is not what is expected.
type difference struct {
	at        string // as in ".transactions.0.root.text"
	want, got any    // nil where there is nothing
}

func (d difference) String() string {
	return fmt.Sprintf("%s: got %s, want %s", d.at, shorten(compact(d.got)), shorten(compact(d.want)))
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 400 {
		return string(r[:400]) + "…"
	}
	return s
}

// absent stands for a key that is not there, which is not the same as null.
type absent struct{}

func (absent) MarshalJSON() ([]byte, error) { return []byte(`"(absent)"`), nil }

// The extension's keys under delivery, and under delivery.info: others are ours
// and free.
const (
	ownKeys     = " attempts endTime error info leaseExpireTime startTime state expireAt "
	ownInfoKeys = " messageId accepted rejected pending response sendgridQueueId "
)

func asObject(v any) object { o, _ := v.(object); return o }
func asList(v any) list     { l, _ := v.(list); return l }
func asString(v any) string { s, _ := v.(string); return s }

// compare returns where got, what was seen of the case, departs from want.
func compare(want, got object, c *testCase) []difference {
	got = asObject(clone(got))
	mask(want["delivery"], got["delivery"])
	for id, d := range asObject(want["deliveries"]) {
		mask(d, asObject(got["deliveries"])[id])
	}
	generated := hasGeneratedID(want)
	var out []difference
	diff(clone(comparable(want, generated, c)), clone(comparable(got, generated, c)), "", &out)
	if leaks := asList(got["leaksInLog"]); len(leaks) > 0 {
		out = append(out, difference{at: ".leaksInLog", want: list{}, got: leaks})
	}
	if died, there := got["died"]; there {
		out = append(out, difference{at: "worker", got: died})
	}
	return out
}

// comparable is what counts of a case's expectation or of what was seen.
func comparable(e object, generated bool, c *testCase) object {
	out := object{"transactions": transactions(e, generated, c.SortTransactions)}
	for _, k := range []string{"exists", "delivery"} {
		if v, there := e[k]; there {
			out[k] = own(v)
		}
	}
	if all, there := e["deliveries"]; there {
		byID := object{}
		for id, d := range asObject(all) {
			byID[id] = own(d)
		}
		out["deliveries"] = byID
	}
	if auth := asObject(e["auth"]); auth != nil {
		out["auth"] = pick(auth, " user pass ")
	}
	return out
}

// own keeps the extension's own keys.
func own(v any) any {
	d, ok := v.(object)
	if !ok {
		return v
	}
	out := pick(d, ownKeys)
	if info, ok := out["info"].(object); ok {
		out["info"] = pick(info, ownInfoKeys)
	}
	return out
}

func pick(o object, keys string) object {
	out := object{}
	for k, v := range o {
		if strings.Contains(keys, " "+k+" ") {
			out[k] = v
		}
	}
	return out
}

// mask gives got what the case masks: a generated Message-ID of the same
// domain, and a time that was there before.
func mask(want, got any) {
	w, g := asObject(want), asObject(got)
	if w == nil || g == nil {
		return
	}
	wantID := asString(asObject(w["info"])["messageId"])
	if info := asObject(g["info"]); info != nil && strings.HasPrefix(wantID, "<UUID@") {
		if id, ok := info["messageId"].(string); ok {
			info["messageId"] = leftPart.ReplaceAllString(id, "<UUID@")
		}
	}
	for _, k := range []string{"startTime", "endTime"} {
		_, wantsNumber := asObject(w[k])["$ts"].(float64)
		_, gotNumber := asObject(g[k])["$ts"].(float64)
		if wantsNumber && gotNumber {
			g[k] = w[k]
		}
	}
}

// JavaScript's \s, which is what the recordings were compared with.
const space = `[\s\v\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}]+`

var (
	leftPart   = regexp.MustCompile(`^<[^@<>]+@`)
	bareAddr   = regexp.MustCompile(`^(<[^>]*>).*$`)
	freeHeader = regexp.MustCompile(`(?i)^(date|x-mailer|user-agent|content-transfer-encoding)$`)
	spaces     = regexp.MustCompile(space)
	anyID      = regexp.MustCompile(`<[^@<>\s]+@([^>\s]+)>`)
	headParam  = regexp.MustCompile(`; (name|filename|charset|boundary)="?([^";]*)"?`)
)

// transactions keeps those that came as far as a recipient, without the ESMTP
// parameters after an address.
func transactions(e object, generated, sorted bool) list {
	out := list{}
	for _, v := range asList(e["transactions"]) {
		t := asObject(v)
		if len(asList(t["rcptTo"])) == 0 && asString(t["reply"]) == "" {
			continue
		}
		rcpt := list{}
		for _, r := range asList(t["rcptTo"]) {
			if refused := asList(r); refused != nil {
				rcpt = append(rcpt, list{address(refused[0]), refused[1]})
			} else {
				rcpt = append(rcpt, address(r))
			}
		}
		one := object{"mailFrom": address(t["mailFrom"]), "rcptTo": rcpt, "reply": t["reply"]}
		if headers, there := t["headers"]; there {
			one["headers"] = sortHeaders(asList(headers), generated)
		}
		if root, there := t["root"]; there {
			one["root"] = strip(root)
		}
		out = append(out, one)
	}
	if sorted {
		slices.SortStableFunc(out, func(a, b any) int {
			return cmp.Compare(compact(asObject(a)["rcptTo"]), compact(asObject(b)["rcptTo"]))
		})
	}
	return out
}

func address(v any) string { return bareAddr.ReplaceAllString(asString(v), "$1") }

// hasGeneratedID reports whether a mail is expected to carry a Message-ID that
// the sender made up: then only its domain counts.
func hasGeneratedID(want object) bool {
	for _, t := range asList(want["transactions"]) {
		for _, h := range asList(asObject(t)["headers"]) {
			if f := asList(h); strings.EqualFold(asString(f[0]), "message-id") && strings.HasPrefix(asString(f[1]), "<UUID@") {
				return true
			}
		}
	}
	return false
}

// sortHeaders leaves out the free fields, evens out what is free in the others
// and sorts them.
func sortHeaders(headers list, generated bool) list {
	var kept [][2]string
	for _, h := range headers {
		f := asList(h)
		name, v := strings.ToLower(asString(f[0])), spaces.ReplaceAllString(asString(f[1]), " ")
		if freeHeader.MatchString(name) {
			continue
		}
		if name == "message-id" && generated {
			v = anyID.ReplaceAllString(v, "<UUID@$1>")
		}
		v = headParam.ReplaceAllStringFunc(v, func(m string) string {
			p := headParam.FindStringSubmatch(m)
			if p[1] == "boundary" {
				return ""
			}
			return "; " + p[1] + "=" + p[2]
		})
		kept = append(kept, [2]string{name, v})
	}
	slices.SortFunc(kept, func(a, b [2]string) int { return cmp.Compare(a[0]+a[1], b[0]+b[1]) })
	out := list{}
	for _, f := range kept {
		out = append(out, list{f[0], f[1]})
	}
	return out
}

// strip leaves out the transfer encoding and evens out white space in
// parameters, in a part and all parts within.
func strip(v any) any {
	p, ok := v.(object)
	if !ok {
		return v
	}
	out := object{}
	for k, v := range p {
		switch k {
		case "cte":
		case "params", "dparams":
			flat := object{}
			for name, x := range asObject(v) {
				flat[name] = each(x, func(s string) string { return spaces.ReplaceAllString(s, " ") })
			}
			out[k] = flat
		case "children", "message":
			parts := list{}
			for _, x := range asList(v) {
				parts = append(parts, strip(x))
			}
			out[k] = parts
		default:
			out[k] = v
		}
	}
	return out
}

// diff collects where b departs from a.
func diff(a, b any, at string, out *[]difference) {
	if compact(a) == compact(b) {
		return
	}
	ao, aIsObject := a.(object)
	bo, bIsObject := b.(object)
	al, aIsList := a.(list)
	bl, bIsList := b.(list)
	switch {
	case aIsObject && bIsObject:
		keys := maps.Clone(ao)
		maps.Copy(keys, bo)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			diff(at1(ao, k), at1(bo, k), at+"."+k, out)
		}
	case aIsList && bIsList:
		for i := range max(len(al), len(bl)) {
			var x, y any = absent{}, absent{}
			if i < len(al) {
				x = al[i]
			}
			if i < len(bl) {
				y = bl[i]
			}
			diff(x, y, at+"."+strconv.Itoa(i), out)
		}
	default:
		*out = append(*out, difference{at: at, want: a, got: b})
	}
}

func at1(o object, key string) any {
	if v, there := o[key]; there {
		return v
	}
	return absent{}
}
