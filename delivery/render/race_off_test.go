//go:build !race

package render

// every says which of the recorded cases are rendered: each one.
const every = 1
