//go:build !race && linux

package builtin_test

const memoryLimited = true
