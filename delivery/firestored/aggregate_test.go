package firestored

import (
	"fmt"
	"math"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type aggregationOf = pb.StructuredAggregationQuery_Aggregation

func sumOf(alias, field string) *aggregationOf {
	return &aggregationOf{Alias: alias, Operator: &pb.StructuredAggregationQuery_Aggregation_Sum_{Sum: &pb.StructuredAggregationQuery_Aggregation_Sum{Field: &pb.StructuredQuery_FieldReference{FieldPath: field}}}}
}

func meanOf(alias, field string) *aggregationOf {
	return &aggregationOf{Alias: alias, Operator: &pb.StructuredAggregationQuery_Aggregation_Avg_{Avg: &pb.StructuredAggregationQuery_Aggregation_Avg{Field: &pb.StructuredQuery_FieldReference{FieldPath: field}}}}
}

func TestCounts(t *testing.T) {
	r := newRig(t, Options{})
	for i := range 100 {
		r.mustCommit(r.set(fmt.Sprintf("c/%03d", i), fields{"n": integer(i % 10), "s": object(fields{"t": text("x")})}))
	}
	r.mustCommit(r.set("c/000/c/sub", nil))
	name := func(op pb.StructuredQuery_FieldFilter_Operator, i int) *pb.StructuredQuery_Filter {
		return where("__name__", op, r.reference(fmt.Sprintf("c/%03d", i)))
	}
	from, to, eq, in := pb.StructuredQuery_FieldFilter_GREATER_THAN, pb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL, pb.StructuredQuery_FieldFilter_EQUAL, pb.StructuredQuery_FieldFilter_IN
	tests := map[string]struct {
		where         *pb.StructuredQuery_Filter
		limit, offset int32
		upTo          int64
		want          int64
	}{
		"all":                         {nil, 0, 0, 0, 100},
		"up to":                       {nil, 0, 0, 7, 7},
		"a limit":                     {nil, 30, 0, 0, 30},
		"a limit and an offset":       {nil, 30, 80, 0, 20},
		"an offset beyond all":        {nil, 0, 200, 0, 0},
		"a range of names":            {and(name(from, 10), name(to, 19)), 0, 0, 0, 9},
		"a range that is empty":       {and(name(from, 19), name(to, 10)), 0, 0, 0, 0},
		"a value":                     {where("n", eq, integer(3)), 0, 0, 0, 10},
		"a value of the other type":   {where("n", eq, double(3)), 0, 0, 0, 10},
		"some values in a range":      {and(where("n", in, values(integer(1), integer(2), integer(77))), name(from, 10), name(to, 29)), 0, 0, 0, 4},
		"two fields":                  {and(where("n", eq, integer(3)), where("s.t", eq, text("x"))), 0, 0, 0, 10},
		"what no index tells":         {where("n", pb.StructuredQuery_FieldFilter_NOT_EQUAL, integer(3)), 0, 0, 0, 90},
		"what no index tells, limit":  {where("n", pb.StructuredQuery_FieldFilter_NOT_EQUAL, integer(3)), 20, 5, 0, 20},
		"a value that nobody has":     {where("n", eq, text("3")), 0, 0, 0, 0},
		"a field that nobody has":     {where("none", eq, text("3")), 0, 0, 0, 0},
		"a value that has gone since": {where("n", eq, integer(9)), 0, 0, 0, 10},
	}
	for name, test := range tests {
		q := selectFrom("c")
		q.Where, q.Offset = test.where, test.offset
		if test.limit > 0 {
			q.Limit = wrapperspb.Int32(test.limit)
		}
		if got := r.count(q, test.upTo); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	q := selectFrom("c")
	q.From[0].AllDescendants = true
	if got := r.count(q, 0); got != 101 {
		t.Errorf("a collection group: %d", got)
	}
	r.mustCommit(r.remove("c/009"), r.set("c/010", fields{"n": integer(9)}), r.set("c/011", fields{"n": integer(9)}), r.set("c/011", nil))
	q = selectFrom("c")
	q.Where = where("n", eq, integer(9))
	if got := r.count(q, 0); got != 10 {
		t.Errorf("after changes: %d", got)
	}
}

func TestSumsAndAverages(t *testing.T) {
	big := &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: math.MaxInt64}}
	tests := map[string]struct {
		values    []*pb.Value
		sum, mean *pb.Value
	}{
		"nothing":            {[]*pb.Value{text("x"), null()}, integer(0), null()},
		"integers":           {[]*pb.Value{integer(1), integer(2), text("x"), integer(-6)}, integer(-3), double(-1)},
		"doubles":            {[]*pb.Value{integer(1), double(0.5)}, double(1.5), double(0.75)},
		"NaN":                {[]*pb.Value{integer(1), double(math.NaN())}, double(math.NaN()), double(math.NaN())},
		"more than integers": {[]*pb.Value{big, big}, double(math.MaxInt64 * 2.0), double(math.MaxInt64)},
	}
	r := newRig(t, Options{})
	for name, test := range tests {
		for i, v := range test.values {
			r.mustCommit(r.set(fmt.Sprintf("%s/%d", name, i), fields{"m": object(fields{"v": v})}))
		}
		response, err := r.aggregate(selectFrom(name), sumOf("s", "m.v"), meanOf("a", "m.v"), &aggregationOf{Operator: countUpTo(0)})
		got := response.GetResult().GetAggregateFields()
		if err != nil || !proto.Equal(got["s"], test.sum) || !proto.Equal(got["a"], test.mean) || got["field_1"].GetIntegerValue() != int64(len(test.values)) || response.GetReadTime() == nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestAggregationsThatAreRefused(t *testing.T) {
	r := newRig(t, Options{})
	n := func(alias string) *aggregationOf { return &aggregationOf{Alias: alias, Operator: countUpTo(0)} }
	for words, of := range map[string][]*aggregationOf{
		"Aggregations can not be empty.":                  nil,
		"The maximum number of aggregations allowed":      {n("a"), n("b"), n("c"), n("d"), n("e"), n("f")},
		"Aggregation aliases contain duplicate alias: x.": {n("x"), n("x")},
		`The property.name "__x__" is reserved.`:          {n("__x__")},
		"must be greater than or equal to zero.":          {{Alias: "n", Operator: countUpTo(-1)}},
		"Aggregation operator is required.":               {{Alias: "n"}},
		"Invalid property path":                           {sumOf("s", "a..b")},
	} {
		if _, err := r.aggregate(selectFrom("c"), of...); !refused(err, codes.InvalidArgument, words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
	response, err := r.aggregate(selectFrom("c"), n(""), n("x"), n(""))
	got := response.GetResult().GetAggregateFields()
	if err != nil || len(got) != 3 || got["field_1"] == nil || got["field_2"] == nil || got["x"] == nil {
		t.Errorf("names that were not given: %v, %v", got, err)
	}
}
