//go:build race

package confine

// memoryLimited is false because the limit would count the memory of the race detector.
const memoryLimited = false
