// Package hostile holds the attack table: the attacks of a model, a web page, a service or the author of a spec against
// a worker, and the expected results (I11). Its tests open the tools as a worker does and measure time, memory and child
// processes.
//
// SECURITY.md holds the threat model. A test here checks that every test named there exists.
package hostile
