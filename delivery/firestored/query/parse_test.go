package query_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"postrider/delivery/firestored/query"
)

func where(f *pb.StructuredQuery_Filter) *pb.StructuredQuery { return &pb.StructuredQuery{Where: f} }

func many(n int, op string) *pb.StructuredQuery_Filter {
	var f []*pb.StructuredQuery_Filter
	for i := range n {
		f = append(f, is(fmt.Sprintf("f%02d", i), op, 1))
	}
	return all(f...)
}

func TestQueriesThatFirestoreRefuses(t *testing.T) {
	other := ref("projects/q/databases/d/documents/c/a")
	unset := &pb.Value{}
	for name, c := range map[string]struct {
		q    *pb.StructuredQuery
		says string
	}{
		"two collections":           {&pb.StructuredQuery{From: append(from("c"), from("d")...)}, "more than one"},
		"a path for a collection":   {&pb.StructuredQuery{From: from("c/d")}, `contains "/"`},
		"a reserved collection":     {&pb.StructuredQuery{From: from("__c__")}, "reserved"},
		"negative limit":            {&pb.StructuredQuery{Limit: wrapperspb.Int32(-1)}, "limit is negative"},
		"negative offset":           {&pb.StructuredQuery{Offset: -1}, "offset is negative"},
		"empty and":                 {where(all()), "at least one"},
		"empty or":                  {where(all(is("f", "==", 1), either())), "at least one"},
		"no composite operator":     {where(composite(0, is("f", "==", 1))), "CompositeFilter operator"},
		"empty filter":              {where(&pb.StructuredQuery_Filter{}), "Filter type"},
		"no operator":               {where(is("f", "?", 1)), "FieldFilter operator"},
		"no unary operator":         {where(test("f", "?")), "UnaryFilter operator"},
		"no field":                  {where(is("", "==", 1)), "empty"},
		"no unary field":            {where(test("", "IS_NULL")), "empty"},
		"bad path":                  {where(is("a..b", "==", 1)), "a..b"},
		"reserved field":            {where(is("__f__", "==", 1)), "reserved"},
		"reserved field below":      {where(is("a.__f__", "==", 1)), "reserved"},
		"no value":                  {where(is("f", "==", unset)), "type unset"},
		"no value in a list":        {where(is("f", "in", list{1, unset})), "type unset"},
		"no value in a map":         {where(is("f", "==", object{"a": list{unset}})), "type unset"},
		"a function":                {where(is("f", "==", &pb.Value{ValueType: &pb.Value_FunctionValue{}})), "not supported"},
		"reference to a collection": {where(is("f", "==", named("c"))), "not that of a document"},
		"reference to the root":     {where(is("f", "==", ref(root))), "not that of a document"},
		"reference to nothing":      {where(is("f", "==", ref("c/a"))), "does not begin"},
		"reference with a gap":      {where(is("f", "==", named("c//a/b"))), "empty segment"},
		"in without a list":         {where(is("f", "in", 1)), "'IN' requires an ArrayValue"},
		"in of nothing":             {where(is("f", "in", list{})), "'IN' requires a non-empty"},
		"not-in of nothing":         {where(is("f", "not-in", list{})), "'NOT_IN' requires a non-empty"},
		"contains any of nothing":   {where(is("f", "has-any", list{})), "'ARRAY_CONTAINS_ANY' requires a non-empty"},
		"in of 31":                  {where(is("f", "in", numbers(31))), "up to 30"},
		"contains any of 31":        {where(is("f", "has-any", numbers(31))), "up to 30"},
		"not-in of 11":              {where(is("f", "not-in", numbers(11))), "up to 10"},
		"in of 5 and of 7":          {where(all(is("f", "in", numbers(5)), is("g", "in", numbers(7)))), "35 disjunctions"},
		"in of 30 or another":       {where(either(is("f", "in", numbers(30)), is("g", "==", 1))), "31 disjunctions"},
		"in of 16, 16 times":        {where(all(slices.Repeat([]*pb.StructuredQuery_Filter{is("f", "in", numbers(16))}, 16)...)), "disjunctions"},
		"two !=":                    {where(all(is("f", "!=", 1), is("f", "!=", 2))), "Only a single"},
		"two != in different ors":   {where(either(is("f", "!=", 1), all(is("f", "==", 2), is("g", "!=", 2)))), "Only a single"},
		"!= and not-in":             {where(all(is("f", "!=", 1), is("f", "not-in", list{2}))), "Only a single"},
		"!= and IS_NOT_NULL":        {where(all(is("f", "!=", 1), test("g", "IS_NOT_NULL"))), "Only a single"},
		"not-in and IS_NOT_NAN":     {where(all(is("f", "not-in", list{1}), test("g", "IS_NOT_NAN"))), "Only a single"},
		"two not-in":                {where(all(is("f", "not-in", list{1}), is("f", "not-in", list{2}))), "Only a single"},
		"not-in and in":             {where(all(is("f", "not-in", list{1}), is("g", "in", list{2}))), "'NOT_IN' cannot be used"},
		"not-in and contains any":   {where(all(is("f", "not-in", list{1}), is("g", "has-any", list{2}))), "'NOT_IN' cannot be used"},
		"not-in in or":              {where(either(is("f", "not-in", list{1}), is("g", "==", 2))), "'NOT_IN' cannot be used"},
		"two array filters":         {where(all(is("f", "has", 1), is("f", "has", 2))), "A maximum of 1"},
		"two array filters, any":    {where(all(is("f", "has", 1), is("g", "has-any", list{2}))), "A maximum of 1"},
		"two array filters, in ors": {where(all(either(is("f", "has", 1), is("g", "==", 1)), either(is("f", "has", 2), is("g", "==", 2)))), "A maximum of 1"},
		"101 filters":               {where(many(101, "==")), "more than 100"},
		"100 filters and an order":  {&pb.StructuredQuery{Where: many(100, "=="), OrderBy: by("x")}, "more than 100"},
		"11 inequality fields":      {where(many(11, ">")), "more than 10"},
		"name == a string":          {where(is("__name__", "==", "a")), "document reference"},
		"name in strings":           {where(is("__name__", "in", list{named("c/a"), "a"})), "document reference"},
		"name == null":              {where(is("__name__", "==", nil)), "document reference"},
		"name is null":              {where(test("__name__", "IS_NULL")), "document reference"},
		"name is not NaN":           {where(test("__name__", "IS_NOT_NAN")), "document reference"},
		"name contains":             {where(is("__name__", "has", named("c/a"))), "reserved"},
		"name in another database":  {where(is("__name__", "==", other)), "access database 'projects/q/databases/d'"},
		"order after the name":      {&pb.StructuredQuery{OrderBy: by("__name__", "f")}, "after the key f"},
		"implied after the name":    {&pb.StructuredQuery{Where: is("f", ">", 1), OrderBy: by("__name__")}, "after the key f"},
		"order twice":               {&pb.StructuredQuery{OrderBy: by("f", "-f")}, "duplicate fields f"},
		"order by nothing":          {&pb.StructuredQuery{OrderBy: []*pb.StructuredQuery_Order{{}}}, "empty"},
		"order in no direction":     {&pb.StructuredQuery{OrderBy: []*pb.StructuredQuery_Order{{Field: at("f"), Direction: 3}}}, "direction"},
		"cursor without an order":   {&pb.StructuredQuery{StartAt: after(named("c/a"))}, "too many values"},
		"cursor past the order":     {&pb.StructuredQuery{OrderBy: by("f"), EndAt: after(1, named("c/a"))}, "too many values"},
		"cursor of an implied one":  {&pb.StructuredQuery{Where: is("f", ">", 1), StartAt: after(1)}, "too many values"},
		"cursor without a value":    {&pb.StructuredQuery{OrderBy: by("f"), StartAt: after(unset)}, "type unset"},
		"cursor name of a string":   {&pb.StructuredQuery{OrderBy: by("__name__"), StartAt: after("a")}, "document reference"},
		"cursor name elsewhere":     {&pb.StructuredQuery{OrderBy: by("__name__"), EndAt: after(other)}, "access database"},
		"selected reserved field":   {&pb.StructuredQuery{Select: &pb.StructuredQuery_Projection{Fields: []*pb.StructuredQuery_FieldReference{at("__f__")}}}, "reserved"},
		"selected bad path":         {&pb.StructuredQuery{Select: &pb.StructuredQuery_Projection{Fields: []*pb.StructuredQuery_FieldReference{at("a.")}}}, "a."},
		"kindless filter":           {&pb.StructuredQuery{From: from(""), Where: is("f", "==", 1)}, "kind is required for filter: f"},
		"kindless order":            {&pb.StructuredQuery{From: from(""), OrderBy: by("f")}, "kind is required for all orders"},
		"kindless names descending": {&pb.StructuredQuery{From: from(""), OrderBy: by("-__name__")}, "kind is required for all orders"},
	} {
		if len(c.q.From) == 0 {
			c.q.From = from("c")
		}
		_, err := query.Parse(root, c.q)
		if got := status.Convert(err); got.Code() != codes.InvalidArgument || !strings.Contains(got.Message(), c.says) {
			t.Errorf("%s: %v, want INVALID_ARGUMENT with %q", name, err, c.says)
		}
	}
}

func TestQueriesAtTheirLimits(t *testing.T) {
	for name, q := range map[string]*pb.StructuredQuery{
		"in of 30":                       where(is("f", "in", numbers(30))),
		"in of 5 and of 6":               where(all(is("f", "in", numbers(5)), is("g", "in", numbers(6)))),
		"in of 15 or of 15":              where(either(is("f", "in", numbers(15)), is("g", "in", numbers(15)))),
		"not-in of 10":                   where(is("f", "not-in", numbers(10))),
		"10 inequality fields":           where(many(10, ">=")),
		"100 filters":                    where(many(100, "==")),
		"two inequalities of one field":  where(all(is("f", ">", 1), is("f", "<", 2), is("f", "!=", 3))),
		"!= and in":                      where(all(is("f", "!=", 1), is("g", "in", numbers(3)))),
		"!= in or":                       where(either(is("f", "!=", 1), is("g", "==", 1))),
		"array filters in branches":      where(either(is("f", "has", 1), is("f", "has", 2))),
		"array filter and in":            where(all(is("f", "has", 1), is("g", "in", numbers(3)))),
		"inequality not first in order":  {Where: is("f", ">", 1), OrderBy: by("k")},
		"name after the fields":          {OrderBy: by("f", "-__name__")},
		"cursor with the name":           {OrderBy: by("f", "__name__"), StartAt: after(1, named("d/a"))},
		"reference to another database":  where(is("f", "==", ref("projects/q/databases/d/documents/c/a"))),
		"kindless names":                 {From: from(""), Where: is("__name__", ">=", named("c\x00/__id-9223372036854775808__")), OrderBy: by("__name__")},
		"field whose name needs quoting": where(is("`a b`.`c`", "==", 1)),
	} {
		if len(q.From) == 0 {
			q.From = from("c")
		}
		if _, err := query.Parse(root, q); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAParentDocumentCountsAsACondition(t *testing.T) {
	q := &pb.StructuredQuery{From: from("c"), Where: many(100, "==")}
	if _, err := query.Parse(root+"/x/y", q); status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}

func TestParentsAreDocumentsOrTheirRoot(t *testing.T) {
	for parent, ok := range map[string]bool{
		root: true, root + "/c/a": true, root + "/c/a/s/b": true,
		"": false, "projects/p/databases/d": false, root + "/c": false, root + "/": false, root + "//a": false,
		"projects//databases/d/documents": false, "x/p/databases/d/documents": false,
	} {
		_, err := query.Parse(parent, &pb.StructuredQuery{From: from("c")})
		if (err == nil) != ok || err != nil && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%q: %v", parent, err)
		}
	}
}

func TestVectorSearchIsUnimplemented(t *testing.T) {
	_, err := query.Parse(root, &pb.StructuredQuery{From: from("c"), FindNearest: &pb.StructuredQuery_FindNearest{}})
	if status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
}
