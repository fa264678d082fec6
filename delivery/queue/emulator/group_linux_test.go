package emulator

const ownsNoDeathSignal = false
