package query_test

import (
	"cmp"
	"math"
	"slices"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery/firestored/query"
)

// ladder holds values in Firestore's order; those of one step are equal.
var ladder = [][]any{
	{nil},
	{false},
	{true},
	{math.NaN(), math.Float64frombits(0xfff8000000000123)},
	{math.Inf(-1)},
	{-1e300},
	{math.MinInt64, -0x1p63},
	{math.MinInt64 + 1},
	{-2, -2.0},
	{-1.5},
	{-1},
	{-0.5},
	{0, 0.0, math.Copysign(0, -1)},
	{5e-324},
	{0.5},
	{1, 1.0},
	{1<<53 - 1},
	{1 << 53, 0x1p53},
	{1<<53 + 1},
	{1<<53 + 2, 0x1p53 + 2},
	{math.MaxInt64 - 1},
	{math.MaxInt64},
	{0x1p63},
	{math.Inf(1)},
	{stamp{-1, 999999000}},
	{stamp{0, 0}},
	{stamp{0, 1000}},
	{stamp{1, 0}},
	{""},
	{"A"},
	{"a"},
	{"a\x00"},
	{"aa"},
	{"b"},
	{"é"},
	{"\uffff"},
	{"\U0001f600"}, // by UTF-16 it would be before the one above
	{[]byte{}},
	{[]byte{0}},
	{[]byte{0, 1}},
	{[]byte{1}},
	{[]byte{255}},
	{ref("projects/a/databases/d/documents/z/z")},
	{named("c/__id-9223372036854775808__")},
	{named("c/__id-1__")},
	{named("c/__id7__")},
	{named("c/__id7__/s/a")},
	{named("c/__id10__")},
	{named("c/-")},
	{named("c/__id+7__")},
	{named("c/__id07__")},
	{named("c/__id9")},
	{named("c/__id99999999999999999999__")},
	{named("c/__idx__")},
	{named("c/a")},
	{named("c/a/b/c")},
	{named("c/a!")}, // '!' < '/'
	{named("c/a0")},
	{named("c\x00/a")},
	{named("c!/a")},
	{geo{-90, 180}},
	{geo{0, -1}},
	{geo{0, 0}, geo{math.Copysign(0, -1), 0}},
	{geo{0, 1}},
	{geo{1, -180}},
	{list{}},
	{list{nil}},
	{list{math.NaN()}},
	{list{1}, list{1.0}},
	{list{1, 2, 3}},
	{list{1, 2, 3, 1}},
	{list{2}},
	{list{"a"}},
	{list{object{"a": list{}}}},
	{vec{}},
	{vec{3}},
	{vec{1, 2}, val(object{"__type__": "__vector__", "value": list{1, 2}})},
	{vec{1, 3}},
	{vec{0, 0, 0}},
	{object{}},
	{object{"__type__": "__vector__"}},
	{object{"__type__": "__vector__", "value": "x"}},
	{object{"__type__": "__vector__", "value": list{1}, "x": 1}},
	{object{"a": nil}},
	{object{"a": "aaa", "b": "baz"}},
	{object{"a": "foo", "b": "bar"}},
	{object{"a": "foo", "b": "bar", "c": "qux"}},
	{object{"a": "foo", "b": "baz"}},
	{object{"aa": 1}, object{"aa": 1.0}},
	{object{"b": "aaa", "c": "baz"}},
	{object{"c": "aaa"}},
}

// each calls yield for each two values of the ladder with their steps.
func each(yield func(i, j int, a, b any)) {
	for i, s := range ladder {
		for _, a := range s {
			for j, s := range ladder {
				for _, b := range s {
					yield(i, j, a, b)
				}
			}
		}
	}
}

func TestCompareIsTheDocumentedTotalOrder(t *testing.T) {
	each(func(i, j int, a, b any) {
		if got, want := query.Compare(val(a), val(b)), cmp.Compare(i, j); got != want {
			t.Errorf("Compare(%s, %s) = %d, want %d", text(a), text(b), got, want)
		}
	})
}

func TestKeysAreEqualWhereValuesAre(t *testing.T) {
	each(func(i, j int, a, b any) {
		if got, want := query.Key(val(a)) == query.Key(val(b)), i == j; got != want {
			t.Errorf("keys of %s and %s equal: %v, want %v", text(a), text(b), got, want)
		}
		a, b = list{a, "x"}, list{b, "x"}
		if got, want := query.Key(val(a)) == query.Key(val(b)), i == j; got != want {
			t.Errorf("keys of %s and %s equal: %v, want %v", text(a), text(b), got, want)
		}
	})
}

// The texts of one value must not run into those of the next.
func TestKeysKeepElementsApart(t *testing.T) {
	different := []any{
		list{"a", "b"},
		list{"as\x01b"},
		list{"a", "s\x01b"},
		list{"as", "b"},
		list{"a", "sb"},
		list{"ab"},
		list{list{"a"}, "b"},
		list{list{"a", "b"}},
		object{"a": "b"},
		object{"as": "b"},
		list{object{}, object{}},
		list{object{"a": 1}},
		list{object{}, object{"a": 1}},
		"a", []byte("a"), ref("a"), "s\x01a",
		list{"a"},
		list{[]byte("a")},
	}
	seen := map[string]any{}
	for _, v := range different {
		k := query.Key(val(v))
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s have the key %q", text(v), text(other), k)
		}
		seen[k] = v
	}
}

func TestUnsetValuesSortFirstAndDoNoHarm(t *testing.T) {
	for _, v := range []*pb.Value{nil, {}, {ValueType: &pb.Value_FunctionValue{}}} {
		if c := query.Compare(v, val(nil)); c != -1 {
			t.Errorf("Compare(%v, null) = %d", v, c)
		}
		if query.Key(v) == query.Key(val(nil)) {
			t.Errorf("%v has the key of null", v)
		}
	}
	for _, v := range []*pb.Value{
		{ValueType: &pb.Value_TimestampValue{}},
		{ValueType: &pb.Value_GeoPointValue{}},
		{ValueType: &pb.Value_ArrayValue{}},
		{ValueType: &pb.Value_MapValue{}},
	} {
		if c := query.Compare(v, v); c != 0 || query.Key(v) == "" {
			t.Errorf("%v is not equal to itself: %d", v, c)
		}
	}
}

func TestNamesAreComparedFromTheSamePointOn(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"mail/a", "mail/a", 0},
		{"mail/a", "mail/a/log/b", -1},
		{"mail/__id9__", "mail/__id10__", -1},
		{"mail/__id9__", "mail/a", -1},
		{"mail/a/log/z", "mail/a-/log/a", -1},
		{"mail/a/log/z", "mail/a", 1},
		{"a", "b", -1},
		{"", "a", -1},
	} {
		if got := query.CompareNames(c.a, c.b); got != c.want {
			t.Errorf("CompareNames(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := query.CompareNames(c.b, c.a); got != -c.want {
			t.Errorf("CompareNames(%q, %q) = %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}

func TestFieldPathsAreSplit(t *testing.T) {
	for path, want := range map[string][]string{
		"a":                 {"a"},
		"_a1.B":             {"_a1", "B"},
		"`x&y`":             {"x&y"},
		"`bak\\`tik`":       {"bak`tik"},
		"a.`b.c`.d":         {"a", "b.c", "d"},
		"`\\\\`":            {`\`},
		"`é`.`1`":           {"é", "1"},
		"__name__":          {"__name__"},
		"":                  nil,
		".":                 nil,
		"a.":                nil,
		".a":                nil,
		"a..b":              nil,
		"1a":                nil,
		"a-b":               nil,
		"é":                 nil,
		"``":                nil,
		"`a":                nil,
		"`a\\":              nil,
		"`a\\`":             nil,
		"`a`b":              nil,
		"a`b`":              nil,
		"a.`b":              nil,
		"a b":               nil,
		"a.b.c.d.`e`.f.`g`": {"a", "b", "c", "d", "e", "f", "g"},
	} {
		got, err := query.ParsePath(path)
		if (err == nil) != (want != nil) || !slices.Equal(got, want) {
			t.Errorf("ParsePath(%q) = %q, %v; want %q", path, got, err, want)
		}
	}
}

func TestFieldsAreLookedUpBelowMaps(t *testing.T) {
	f := fields(object{
		"a":   object{"b": object{"c": 1}, "x.y": 2, "n": nil},
		"s":   "text",
		"l":   list{object{"b": 1}},
		"v":   vec{1},
		"a.b": 3,
	})
	for path, want := range map[string]any{
		"a.b.c": 1, "a.`x.y`": 2, "a.n": nil, "`a.b`": 3, "s": "text", "`a`.b.`c`": 1,
		"a.b.d": t, "s.a": t, "l.b": t, "z": t, "z.y": t, "v.value": t, "`z`.y": t, "a.`": t, "a.b.c.d": t, "": t,
	} {
		got, ok := query.Lookup(f, path)
		if missing := want == any(t); ok == missing || !missing && query.Compare(got, val(want)) != 0 {
			t.Errorf("Lookup(%q) = %v, %v; want %v", path, got, ok, want)
		}
	}
}

func BenchmarkKey(b *testing.B) {
	for name, v := range map[string]any{"string": "SUCCESS", "number": 7, "map": object{"a": 1}} {
		b.Run(name, func(b *testing.B) {
			v := val(v)
			b.ReportAllocs()
			for b.Loop() {
				query.Key(v)
			}
		})
	}
}

func BenchmarkCompareNames(b *testing.B) {
	x, y := root+"/mail/0123456789abcdefghij", root+"/mail/0123456789abcdefghik"
	for b.Loop() {
		query.CompareNames(x, y)
	}
}
