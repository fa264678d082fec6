package firestored

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/protobuf/proto"

	"postrider/delivery/firestored/query"
)

// anyValue returns a value of any kind, up to some depth.
func anyValue(random *rand.Rand, depth int) *pb.Value {
	kinds := 12
	if depth == 0 {
		kinds = 10
	}
	switch random.IntN(kinds) {
	case 0:
		return null()
	case 1:
		return boolean(random.IntN(2) == 0)
	case 2:
		return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: int64(random.Uint64())}}
	case 3:
		return integer(random.IntN(200) - 100)
	case 4:
		return double([]float64{0, math.Copysign(0, -1), 1.5, math.Inf(-1), math.MaxFloat64}[random.IntN(5)])
	case 5:
		return &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: timestamp(random.Int64N(3e17) - 6e16)}}
	case 6:
		return text(long(random.IntN(300)))
	case 7:
		return &pb.Value{ValueType: &pb.Value_BytesValue{BytesValue: []byte(long(random.IntN(5)))}}
	case 8:
		return &pb.Value{ValueType: &pb.Value_ReferenceValue{ReferenceValue: "projects/p/databases/d/documents/c/" + fmt.Sprint(random.IntN(9))}}
	case 9:
		return &pb.Value{ValueType: &pb.Value_GeoPointValue{GeoPointValue: &latlng.LatLng{Latitude: random.Float64(), Longitude: -random.Float64()}}}
	case 10:
		var all []*pb.Value
		for range random.IntN(4) {
			all = append(all, anyValue(random, 0), object(anyFields(random, depth-1)))
		}
		return values(all...)
	default:
		return object(anyFields(random, depth-1))
	}
}

func anyFields(random *rand.Rand, depth int) fields {
	f := fields{}
	for range random.IntN(6) {
		f[anyName(random)] = anyValue(random, depth)
	}
	return f
}

// anyName returns one of a few short names, of more names than a dictionary
// takes, or a long one.
func anyName(random *rand.Rand) string {
	switch random.IntN(10) {
	case 0:
		return fmt.Sprint("n", random.IntN(3*maxNames))
	case 1:
		return fmt.Sprint(long(maxName), random.IntN(3))
	default:
		return string(rune('a' + random.IntN(8)))
	}
}

func TestEncodedDocuments(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 3))
	d := &dictionary{}
	for i := range maxNames - 100 { // so that it is full soon, but not at once
		d.number(fmt.Sprint("n", i))
	}
	for range 2000 {
		f := anyFields(random, 3)
		data := d.encode(f)
		if back := d.decode(data); !sameFields(&pb.Document{Fields: back}, f) {
			t.Fatalf("%v came back as %v", f, back)
		}
		if again := d.encode(proto.CloneOf(&pb.Document{Fields: f}).GetFields()); !bytes.Equal(again, data) {
			t.Fatalf("%v is %x and %x", f, data, again)
		}
		for range 5 {
			path := []string{anyName(random), anyName(random)}[:1+random.IntN(2)]
			got, ok := d.lookup(data, path)
			name := path[0]
			if len(path) == 2 {
				name += "." + path[1]
			}
			if want, there := query.Lookup(f, name); ok != there || !proto.Equal(got, want) {
				t.Fatalf("%v in %v: %v, want %v", path, f, got, want)
			}
		}
		checkSplice(t, random, d, f, data)
	}
	if n := len(d.known.Load().names); n != maxNames {
		t.Errorf("the dictionary has %d names", n)
	}
}

func checkSplice(t *testing.T, random *rand.Rand, d *dictionary, f fields, data []byte) {
	t.Helper()
	var replaced []string
	patch, want := fields{}, fields{}
	for name, v := range f {
		want[name] = v
	}
	for range random.IntN(4) {
		name := anyName(random)
		replaced = append(replaced, name)
		delete(want, name)
		delete(patch, name)
		if random.IntN(3) > 0 {
			patch[name] = anyValue(random, 1)
			want[name] = patch[name]
		}
	}
	got := d.splice(data, d.encode(patch), replaced)
	if !bytes.Equal(got, d.encode(want)) || cap(got) > len(got) {
		t.Fatalf("%v with %v replaced by %v is %v", f, replaced, patch, d.decode(got))
	}
	if some := d.decodeSome(data, replaced); slices.ContainsFunc(replaced, func(name string) bool { return !proto.Equal(some[name], f[name]) }) {
		t.Fatalf("%v of %v are %v", replaced, f, some)
	}
}

// TestDictionaryIsShared has many encoders at once, which all add names.
func TestDictionaryIsShared(t *testing.T) {
	d := &dictionary{}
	var running sync.WaitGroup
	for worker := range 4 {
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 4))
			for range 500 {
				f := anyFields(random, 1)
				data := d.encode(f)
				if !sameFields(&pb.Document{Fields: d.decode(data)}, f) || !bytes.Equal(data, d.encode(f)) {
					t.Errorf("%v came back as %v", f, d.decode(data))
					return
				}
			}
		})
	}
	running.Wait()
}

func TestVectorHasNoFields(t *testing.T) {
	d := &dictionary{}
	data := d.encode(fields{"v": vectorOf(double(1))})
	if v, ok := d.lookup(data, []string{"v", "value"}); ok {
		t.Errorf("found %v", v)
	}
	if v, ok := d.lookup(data, []string{"v"}); !ok || !proto.Equal(v, vectorOf(double(1))) {
		t.Errorf("the vector is %v", v)
	}
}

func BenchmarkEncode(b *testing.B) {
	d, f := &dictionary{}, mail(1)
	b.ReportAllocs()
	for b.Loop() {
		d.encode(f)
	}
	b.ReportMetric(float64(len(d.encode(f))), "bytes")
}

func BenchmarkDecode(b *testing.B) {
	d := &dictionary{}
	data := d.encode(mail(1))
	b.ReportAllocs()
	for b.Loop() {
		d.decode(data)
	}
}
