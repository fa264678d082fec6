package queue

import (
	"cmp"
	"math/bits"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// What an audit costs, in reads: a count one for every thousand index entries
// that it has begun on, and one at least; a document one. So of a range of n
// documents the two counts of all its parts cost 2n/1000 while the parts are
// larger than a thousand, whatever their number, and two each below that. To find
// one document among a thousand by halving costs two reads for each of seven
// halvings, and the eight documents of the last half.
const (
	perRead  = 1000 // index entries
	fullPart = 930  // documents in a part that is to cost one read; the keys' chance seldom adds seventy
	leaf     = 8    // documents for each missed one, up to which reading is as cheap as halving on, and sooner done
	maxParts = 2000 // of a range at once
)

// billed returns what a count costs that came to n.
func billed(n int) int { return max(1, (n+perRead-1)/perRead) }

// partsOf decides what to do with a range of n documents of which missing are
// missed: how many parts to divide it into, or 0 to read it. Reads is what has
// been spent so far on a collection of so many documents: beyond the price of
// a scan, bisecting has failed and the rest is read.
func partsOf(n, missing, reads, documents int) int {
	switch {
	case n <= leaf*missing || reads > documents:
		return 0
	case n <= perRead:
		return 2
	}
	return min(fullParts(n), maxParts)
}

// fullParts returns how many parts of n documents cost a read each.
func fullParts(n int) int { return (n + fullPart - 1) / fullPart }

// span is a range of document IDs, from the first on and below the second.
// Empty ones bound nothing.
type span struct{ from, to string }

// cut divides s at keys, which are within it and sorted.
func (s span) cut(keys []string) []span {
	parts := make([]span, 0, len(keys)+1)
	for _, key := range keys {
		parts = append(parts, span{s.from, key})
		s.from = key
	}
	return append(parts, s)
}

// alphabet is what IDs are taken to be made of: ranges of characters, in order.
// It tells where between two IDs others will be, and a wrong one costs reads and
// nothing else.
type alphabet []letters

// letters are the characters from the first to the last. To Firestore IDs are
// bytes, in the order of their UTF-8, which is that of the characters' numbers.
type letters struct{ first, last rune }

// minHex is how many digits and letters tell hexadecimal numbers from words.
const minHex = 12

// alphabetOf returns the alphabet of two IDs from where they differ. Of signs it
// has only those that they differ in: others stand at fixed places, mostly.
func alphabetOf(lo, hi string) alphabet {
	common := prefix(lo, hi)
	lo, hi = lo[len(common):], hi[len(common):]
	seen := []rune(lo + hi)
	slices.Sort(seen)
	digits, upper, lower := letters{'0', '9'}, letters{'A', 'Z'}, letters{'a', 'z'}
	switch small, large := lower.among(seen), upper.among(seen); {
	case digits.among(seen)+small+large < minHex:
	case large == 0 && small == (letters{'a', 'f'}).among(seen):
		lower.last = 'f'
	case small == 0 && large == (letters{'A', 'F'}).among(seen):
		upper.last = 'F'
	}
	var a alphabet
	for _, class := range []letters{digits, upper, lower} {
		if class.among(seen) > 0 {
			a = append(a, class)
		}
	}
	a = append(a, beyondASCII(seen)...)
	for _, id := range []string{lo, hi} {
		if r, _ := utf8.DecodeRuneInString(id); id != "" && r < utf8.RuneSelf && !a.has(r) {
			a = append(a, letters{r, r})
		}
	}
	if len(a) == 0 {
		return alphabet{digits, upper, lower}
	}
	slices.SortFunc(a, func(x, y letters) int { return cmp.Compare(x.first, y.first) })
	return a
}

// has reports whether r is in the alphabet.
func (a alphabet) has(r rune) bool {
	return slices.ContainsFunc(a, func(l letters) bool { return l.first <= r && r <= l.last })
}

// beyondASCII returns the characters beyond ASCII, from the lowest to the highest of
// the blocks that occur. Surrogates are no characters.
func beyondASCII(seen []rune) alphabet {
	const block, surrogates, after = 0x80, 0xD800, 0xE000
	i, _ := slices.BinarySearch(seen, utf8.RuneSelf)
	if i == len(seen) {
		return nil
	}
	first, last := seen[i]&^(block-1), seen[len(seen)-1]|(block-1)
	if first < surrogates && last >= after {
		return alphabet{{first, surrogates - 1}, {after, last}}
	}
	return alphabet{{first, last}}
}

// among returns how many of the sorted characters are in l.
func (l letters) among(sorted []rune) int {
	i, _ := slices.BinarySearch(sorted, l.first)
	j, _ := slices.BinarySearch(sorted, l.last+1)
	return j - i
}

// size returns how many characters there are.
func (a alphabet) size() uint64 {
	n := uint64(0)
	for _, l := range a {
		n += uint64(l.last-l.first) + 1
	}
	return n
}

// rank returns how many characters are below r, but not more than there are
// below the highest.
func (a alphabet) rank(r rune) uint64 {
	n := uint64(0)
	for _, l := range a {
		if r > l.last {
			n += uint64(l.last-l.first) + 1
		} else if r > l.first {
			n += uint64(r - l.first)
		}
	}
	return min(n, a.size()-1)
}

// letter returns the character that n others are below.
func (a alphabet) letter(n uint64) rune {
	for _, l := range a {
		size := uint64(l.last-l.first) + 1
		if n < size {
			return l.first + rune(n)
		}
		n -= size
	}
	return a[len(a)-1].last
}

// between returns up to parts-1 different IDs above lo and below hi, sorted, at
// even distances as far as the alphabet tells. An empty hi is above all. None
// means that it knows none.
func (a alphabet) between(lo, hi string, parts int) []string {
	common := ""
	if hi != "" {
		common = prefix(lo, hi)
	}
	places := a.places()
	from := a.number(lo[len(common):], places, 0)
	to := a.number("", places, a.size()-1)
	if hi != "" {
		to = a.number(hi[len(common):], places, 0)
	}
	var keys []string
	last := lo
	for i := 1; i < parts && to > from; i++ {
		high, low := bits.Mul64(to-from, uint64(i))
		step, _ := bits.Div64(high, low, uint64(parts))
		key := common + a.text(from+step, places)
		if key > last && (key < hi || hi == "") && validID(key) {
			keys, last = append(keys, key), key
		}
	}
	if len(keys) > 0 {
		return keys
	}
	// They are neighbours as far as so many places tell, so it must be an ID that
	// lo begins.
	key := lo + string(a.letter(a.size()/2))
	if (key < hi || hi == "") && validID(key) {
		return []string{key}
	}
	return nil
}

// places returns how many characters of an ID fit into a number.
func (a alphabet) places() int {
	n, limit := 1, uint64(1<<62)
	for v := a.size(); v > 1 && v <= limit/a.size() && n < 16; v *= a.size() {
		n++
	}
	return n
}

// number returns the first characters of an ID as a number. Where the ID has
// ended they rank as end.
func (a alphabet) number(id string, places int, end uint64) uint64 {
	n := uint64(0)
	for range places {
		digit := end
		if id != "" {
			r, size := utf8.DecodeRuneInString(id)
			digit, id = a.rank(r), id[size:]
		}
		n = n*a.size() + digit
	}
	return n
}

// text returns the characters of a number.
func (a alphabet) text(n uint64, places int) string {
	text := make([]rune, places)
	for i := places - 1; i >= 0; i-- {
		text[i] = a.letter(n % a.size())
		n /= a.size()
	}
	return string(text)
}

// prefix returns the characters that two IDs begin with alike.
func prefix(a, b string) string {
	for i, r := range a {
		if !strings.HasPrefix(b[i:], string(r)) {
			return a[:i]
		}
	}
	return a
}

// maxID is how long a document ID may be, in bytes.
const maxID = 1500

// validID reports whether Firestore takes an ID ("Constraints on document IDs").
func validID(id string) bool {
	switch {
	case id == "", id == ".", id == "..", len(id) > maxID, strings.Contains(id, "/"), !utf8.ValidString(id):
		return false
	}
	return !reservedID(id)
}

// numericID is what IDs of documents are like that came from Datastore.
var numericID = regexp.MustCompile(`^__id-?[0-9]+__$`)

// isID reports whether a document may be called so that is there already.
func isID(id string) bool { return validID(id) || numericID.MatchString(id) }

// reservedID reports whether an ID is one of Firestore's own. As IDs of
// documents there are only numeric ones among them, __id7__, which a database
// that was imported from Datastore has; they come before all others.
func reservedID(id string) bool {
	return len(id) >= 4 && strings.HasPrefix(id, "__") && strings.HasSuffix(id, "__")
}
