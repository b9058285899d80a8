//go:build race

package confine

// memoryLimited is false because the memory of the race detector would count.
const memoryLimited = false
