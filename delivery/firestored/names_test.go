package firestored

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"postrider/delivery/firestored/query"
)

// TestNamesAreAsASortedSlice compares the list with a sorted slice, through
// enough names for many chunks, which come in order, at random and go again.
func TestNamesAreAsASortedSlice(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var list names
	var want []string
	insert := func(path string) {
		if i, there := slices.BinarySearchFunc(want, path, query.CompareNames); !there {
			want = slices.Insert(want, i, path)
			list.insert(&entry{path: path})
		}
	}
	for i := range 3 * maxChunk {
		insert("c/" + strconv.Itoa(100_000+i))
	}
	for range 4 * maxChunk {
		insert("c/" + strconv.Itoa(random.IntN(1_000_000)))
		insert("c/__id" + strconv.Itoa(random.IntN(1000)) + "__")
	}
	checkNames(t, random, &list, want)
	for len(want) > 10 {
		for range min(len(want)-5, 500) {
			i := random.IntN(len(want))
			if e := list.remove(want[i]); e == nil || e.path != want[i] {
				t.Fatalf("remove %s: %v", want[i], e)
			}
			want = slices.Delete(want, i, i+1)
		}
		checkNames(t, random, &list, want)
	}
	if list.remove("c/none") != nil || list.find("c/none") != nil {
		t.Error("a name that was never put in was found")
	}
}

func checkNames(t *testing.T, random *rand.Rand, list *names, want []string) {
	t.Helper()
	if list.size != len(want) {
		t.Fatalf("size %d, want %d", list.size, len(want))
	}
	for _, entries := range list.chunks {
		if len(entries) == 0 || len(entries) > maxChunk {
			t.Fatalf("a chunk of %d", len(entries))
		}
	}
	for range 200 {
		from, i := randomCut(random, want)
		to, j := randomCut(random, want)
		slice := want[min(i, j):max(j, min(i, j))]
		if i > j {
			slice = nil
		}
		if got := list.count(from, to); got != len(slice) {
			t.Fatalf("count %v to %v: %d, want %d", from, to, got, len(slice))
		}
		limit := random.IntN(3 * maxChunk)
		checkTaken(t, list.take(from, to, false, limit), slice[:min(limit, len(slice))])
		down := slices.Clone(slice)
		slices.Reverse(down)
		checkTaken(t, list.take(from, to, true, limit), down[:min(limit, len(down))])
	}
}

// randomCut returns a cut, at or between names, and how many names are before it.
func randomCut(random *rand.Rand, sorted []string) (cut, int) {
	switch random.IntN(10) {
	case 0:
		return cut{}, 0
	case 1:
		return cut{end: true}, len(sorted)
	}
	path := "c/" + strconv.Itoa(random.IntN(1_000_000))
	if random.IntN(2) == 0 {
		path = sorted[random.IntN(len(sorted))]
	}
	c := cut{path: path, after: random.IntN(2) == 0}
	i, there := slices.BinarySearchFunc(sorted, path, query.CompareNames)
	if there && c.after {
		i++
	}
	return c, i
}

func checkTaken(t *testing.T, got []*entry, want []string) {
	t.Helper()
	paths := make([]string, len(got))
	for i, e := range got {
		paths[i] = e.path
	}
	if !slices.Equal(paths, want) {
		t.Fatalf("took %d entries, want %d", len(got), len(want))
	}
}
