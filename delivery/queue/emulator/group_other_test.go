//go:build !linux

package emulator

const ownsNoDeathSignal = true
