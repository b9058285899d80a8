// Package hostile holds the attack table: what a model, a web page, a service or the author of a spec may try against a worker,
// and what must come of it (I11). Its tests open the tools as a worker does and measure time, memory and child processes.
//
// SECURITY.md holds the threat model. A test here checks that each test that it names exists.
package hostile
