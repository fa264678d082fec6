//go:build race

package render

// every says which of the recorded cases are rendered: with the race detector
// in it, the engine takes some thirty times as long, and one goroutine's
// renders have no races to find.
const every = 25
