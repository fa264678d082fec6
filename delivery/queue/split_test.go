package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// families are kinds of IDs that applications give to documents: the i-th, with
// the randomness of rng.
var families = map[string]func(rng *rand.Rand, i int) string{
	"auto":   func(rng *rand.Rand, _ int) string { return randomID(rng, autoLetters, 20) },
	"uuid":   func(rng *rand.Rand, _ int) string { return uuid(rng) },
	"number": func(_ *rand.Rand, i int) string { return fmt.Sprint(i + 1) },
	"order":  func(_ *rand.Rand, i int) string { return fmt.Sprintf("order-%06d", i+123) },
	"time": func(rng *rand.Rand, i int) string {
		return fmt.Sprintf("2026-%02d-%02dT%02d:%02d-%s", 1+i/3000%12, 1+i/100%28, i/5%24, rng.IntN(60), randomID(rng, autoLetters, 4))
	},
	"email": func(rng *rand.Rand, i int) string {
		return fmt.Sprintf("%s.%s%d@%s.test", words[rng.IntN(len(words))], words[rng.IntN(len(words))], i, words[rng.IntN(len(words))])
	},
	"greek": func(rng *rand.Rand, i int) string {
		return randomID(rng, "αβγδεζηθικλμνξοπρστυφχψω", 6) + fmt.Sprint(i)
	},
	"planes": func(rng *rand.Rand, i int) string {
		return randomID(rng, "aZ~ §Ωж日本語한😀𝔘\U0010FFFD \u0301", 1+rng.IntN(8)) + fmt.Sprint(i)
	},
	"signs":  func(rng *rand.Rand, _ int) string { return randomID(rng, "!$%&*+-.:;=@_~", 14) },
	"chain":  func(_ *rand.Rand, i int) string { return strings.Repeat("a", 1+i%700) + fmt.Sprint(i/700) },
	"powers": func(_ *rand.Rand, i int) string { return strings.Repeat("z", i%40) + fmt.Sprintf("a%06d", i) },
	"mixed": func(rng *rand.Rand, i int) string {
		switch i % 3 {
		case 0:
			return randomID(rng, autoLetters, 20)
		case 1:
			return fmt.Sprintf("invoice-2026-%07d", i)
		}
		return "invoice-2026-0000001-reminder-" + fmt.Sprint(i)
	},
	"imported": func(rng *rand.Rand, i int) string { // from Datastore
		if i%2 == 0 {
			return fmt.Sprintf("__id%d__", 5000+i)
		}
		return randomID(rng, autoLetters, 20)
	},
}

const autoLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

var words = strings.Fields("ada alan anna bob carla dave eve frank grace heidi ivan judy mallory niaj olivia peggy rupert sybil trent walter zoe")

func randomID(rng *rand.Rand, from string, n int) string {
	letters, id := []rune(from), make([]rune, n)
	for i := range id {
		id[i] = letters[rng.IntN(len(letters))]
	}
	return string(id)
}

func uuid(rng *rand.Rand) string {
	a, b := rng.Uint64(), rng.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffffffffffff)
}

// ids returns n different IDs of a family, in Firestore's order.
func ids(family string, n int, seed uint64) []string {
	rng := rand.New(rand.NewPCG(seed, 1))
	all := make([]string, 0, n)
	for i := 0; len(all) < n; i++ {
		if id := families[family](rng, i); len(id) <= maxID {
			all = append(all, id)
		}
		if len(all) == n {
			slices.SortFunc(all, compareIDs)
			all = slices.Compact(all)
		}
	}
	return all
}

// compareIDs is Firestore's order of document IDs.
func compareIDs(a, b string) int {
	switch x, y := reservedID(a), reservedID(b); {
	case x && !y:
		return -1
	case y && !x:
		return 1
	case x && len(a) != len(b): // numbers
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func TestKeysLieStrictlyBetweenAndAreValid(t *testing.T) {
	for name := range families {
		t.Run(name, func(t *testing.T) {
			all := slices.DeleteFunc(ids(name, 500, 7), reservedID)
			rng := rand.New(rand.NewPCG(3, 4))
			for range 300 {
				i, j := rng.IntN(len(all)), rng.IntN(len(all))
				if i == j {
					continue
				}
				lo, hi := all[min(i, j)], all[max(i, j)]
				if rng.IntN(10) == 0 {
					hi = ""
				}
				checkBetween(t, alphabetOf(all[rng.IntN(len(all))], all[rng.IntN(len(all))]), lo, hi, 2+rng.IntN(40))
				checkBetween(t, alphabetOf(lo, hi), lo, hi, 2+rng.IntN(40))
			}
		})
	}
}

// checkBetween checks what every answer of between must keep.
func checkBetween(t *testing.T, a alphabet, lo, hi string, parts int) []string {
	t.Helper()
	keys := a.between(lo, hi, parts)
	if len(keys) >= parts {
		t.Errorf("%q..%q: %d keys for %d parts", lo, hi, len(keys), parts)
	}
	last := lo
	for _, key := range keys {
		if key <= last || hi != "" && key >= hi {
			t.Errorf("%q..%q: key %q after %q", lo, hi, key, last)
		}
		if !validID(key) {
			t.Errorf("%q..%q: key %q is no ID", lo, hi, key)
		}
		last = key
	}
	return keys
}

func FuzzBetween(f *testing.F) {
	f.Add("a", "b", "x", "y", 5)
	f.Add("a", "a0", "", "", 2)
	f.Add("a", "a\x00", "~", "\u07ff", 9)
	f.Add("_", "__a", "__", "___", 30)
	f.Add("\ud7ff", "\ue000", "0", "z", 100)
	f.Add("zzzzzzzzzzzzzzz", "", ".", "..", 3)
	f.Fuzz(func(t *testing.T, lo, hi, p, q string, parts int) {
		for _, id := range []string{lo, hi, p, q} {
			if id != "" && (!validID(id) || reservedID(id)) {
				return // no IDs
			}
		}
		if hi != "" && lo >= hi || parts < 2 || parts > 3000 {
			return // no range
		}
		checkBetween(t, alphabetOf(lo, hi), lo, hi, parts)
		checkBetween(t, alphabetOf(p, q), lo, hi, parts)
	})
}

// Where there is an ID between that the alphabet can write, one is found, so
// that dividing goes on.
func TestKeysAreFoundBetweenNeighbours(t *testing.T) {
	for _, c := range []struct {
		lo, hi string
		want   bool
	}{
		{"a", "c", true},
		{"a", "b", true},
		{"azzzzzzzzzzzzzzzzzz", "b", true},
		{"order-000123", "order-000124", true},
		{"9", "A", true},
		{"Z", "a", true},
		{"日本語", "日本語2", true},
		{"a", "a0", false}, // only signs would be
		{"a-", "a0", true},
		{"a", "a-0900", true},
		{"a", "a\x00", false},
		{strings.Repeat("x", maxID), strings.Repeat("y", maxID), true},
		{strings.Repeat("x", maxID), strings.Repeat("x", maxID-1) + "y", false},
	} {
		a := alphabetOf(c.lo, c.hi)
		if got := checkBetween(t, a, c.lo, c.hi, 2); (len(got) > 0) != c.want {
			t.Errorf("%.20q..%.20q: %q, want any %v", c.lo, c.hi, got, c.want)
		}
	}
}

func TestAlphabet(t *testing.T) {
	lower, upper, digits := "a-z", "A-Z", "0-9"
	for _, c := range []struct {
		lo, hi string
		want   []string
	}{
		{"order-000123", "order-091244", []string{digits}},
		{"00Ab3fHHxyz0aaBZ9kQd", "zZx01bbQpP3", []string{digits, upper, lower}},
		{"01b2f00c-2222-4abc", "ffe1-4dd2", []string{digits, "a-f"}},
		{"01B2F00C-2222", "FFE1", []string{digits, "A-F"}},
		{"01b2F00C-2222", "FFE1", []string{digits, upper, lower}},
		{"abba", "beef", []string{lower}}, // words as well
		{"ada.bob@a.test", "zoe@x.test", []string{lower}},
		{"a-1", "a-9", []string{digits}},
		{"x-", "x.", []string{"---", ".-."}},
		{"a", "a-0900", []string{"---", digits}},
		{"a.1-2", "ab", []string{".-.", digits, lower}},
		{"α1", "ω", []string{digits, "\u0380-\u03ff"}},
		{"\ud7ff", "\uf900", []string{"\ud780-\ud7ff", "\ue000-\uf97f"}},
		{"", "", []string{digits, upper, lower}},
	} {
		var got []string
		for _, l := range alphabetOf(c.lo, c.hi) {
			got = append(got, string(l.first)+"-"+string(l.last))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q, %q: %q, want %q", c.lo, c.hi, got, c.want)
		}
	}
}

func TestAlphabetCountsItsCharacters(t *testing.T) {
	a := alphabet{{'0', '9'}, {'a', 'f'}, {0xE000, 0xE001}}
	if a.size() != 18 {
		t.Errorf("size %d", a.size())
	}
	for n := range a.size() {
		if r := a.letter(n); a.rank(r) != n || !utf8.ValidRune(r) {
			t.Errorf("character %d is %q, which is %d", n, r, a.rank(r))
		}
	}
	for r, want := range map[rune]uint64{'-': 0, '5': 5, 'A': 10, 'a': 10, 'z': 16, 0xE001: 17, 0x10FFFF: 17} {
		if got := a.rank(r); got != want {
			t.Errorf("%q ranks %d, want %d", r, got, want)
		}
	}
}

// Parts are as even as the IDs allow, for only those up to a thousand cost one
// read.
func TestKeysDivideEvenly(t *testing.T) {
	for name, want := range map[string]float64{"auto": 0.95, "uuid": 0.95, "order": 0.99} {
		all := ids(name, 100_000, 5)
		lo, hi := all[0], all[len(all)-1]
		keys := alphabetOf(lo, hi).between(lo, hi, (len(all)+fullPart-1)/fullPart)
		cheap, from := 0, 0
		for _, key := range append(keys, hi+"x") {
			to, _ := slices.BinarySearch(all, key)
			if to-from <= perRead {
				cheap++
			}
			from = to
		}
		if got := float64(cheap) / float64(len(keys)+1); got < want {
			t.Errorf("%s: %.2f of %d parts cost one read, want %.2f", name, got, len(keys)+1, want)
		}
	}
}

func TestPartsOf(t *testing.T) {
	for name, c := range map[string]struct{ n, missing, reads, documents, want int }{
		"one document":                {1, 1, 3, 1, 0},
		"a few":                       {8, 1, 3, 8, 0},
		"just more than a few":        {9, 1, 3, 9, 2},
		"one in eight":                {800, 100, 3, 800, 0},
		"fewer than one in eight":     {801, 100, 3, 801, 2},
		"all":                         {1_000_000, 1_000_000, 2000, 1_000_000, 0},
		"one read's worth":            {1000, 1, 3, 1000, 2},
		"just more than a read's":     {1001, 1, 3, 1001, 2},
		"twenty thousand":             {20_000, 1, 40, 20_000, 22},
		"a million, one missed":       {1_000_000, 1, 2000, 1_000_000, 1076},
		"a million, a hundred missed": {1_000_000, 100, 2000, 1_000_000, 1076},
		"more parts than at once":     {100_000_000, 1_000_000, 200_000, 100_000_000, 2000},
		"as much spent as for a scan": {20_000, 1, 20_000, 20_000, 22},
		"more spent than for a scan":  {20_000, 1, 20_001, 20_000, 0},
	} {
		if got := partsOf(c.n, c.missing, c.reads, c.documents); got != c.want {
			t.Errorf("%s: %d parts, want %d", name, got, c.want)
		}
	}
}

func TestBilled(t *testing.T) {
	for n, want := range map[int]int{0: 1, 1: 1, 1000: 1, 1001: 2, 1_000_000: 1000} {
		if got := billed(n); got != want {
			t.Errorf("a count of %d costs %d, want %d", n, got, want)
		}
	}
}

func TestCutCovers(t *testing.T) {
	got := span{"a", ""}.cut([]string{"b", "c"})
	if !slices.Equal(got, []span{{"a", "b"}, {"b", "c"}, {"c", ""}}) {
		t.Errorf("got %v", got)
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "...": true, "__": true, "___": true, "_a_": true, "\x01": true, strings.Repeat("ü", 750): true,
		"": false, ".": false, "..": false, "a/b": false, "____": false, "__x__": false, "__id7__": false, "\xff": false, strings.Repeat("ü", 751): false,
	} {
		if got := validID(id); got != want {
			t.Errorf("%.20q: %v, want %v", id, got, want)
		}
	}
}
