// Package query decides what a Firestore query selects, in which order, and
// what of it. It is pure: it looks at protocol values and does no I/O.
//
// The rules are those of the comments in google/firestore/v1/query.proto and
// document.proto and of the Firestore documentation ("Order and limit data",
// "Queries: query limitations", "Supported data types"). Where those are silent
// it does as the service is seen to do:
//
//   - Null and NaN are found by the unary filters alone. A comparison with null
//     is undefined and one with NaN follows IEEE 754: == and in, the ranges and
//     array-contains never match them, != null and a not-in with a null match
//     nothing, and != NaN excludes nothing. SDKs send unary filters for these.
//   - != and not-in, IS_NOT_NULL and IS_NOT_NAN want the field to exist and not
//     to be null.
//   - A range matches values of its operand's type only; integers and doubles
//     are one type, NaN belongs to no range.
//   - Each field of the order must exist, implied ones too and for each branch
//     of an OR, because the order is an index.
//   - Without a collection ID only __name__ can be filtered, and ordered by
//     ascending.
//
// A query that needs a composite index is answered without one, strings are
// compared beyond their first 1,500 bytes, and vector search is refused as
// unimplemented.
package query
