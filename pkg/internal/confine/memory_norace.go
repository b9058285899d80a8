//go:build !race

package confine

const memoryLimited = true
