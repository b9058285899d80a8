// Package hardening protects a process that runs third-party tools: [TakeKeys] takes keys out of its environment,
// [Undumpable] hides its memory from processes of the same user, and [LimitMemory] fits the Go heap into its container.
//
// Programs call these first in main. The package keeps no state and owns no goroutine.
package hardening
