// Package room runs a real server with hundreds of real agents, each a process
// with a file for its disk, to hold what every one of them says against what
// the others say.
//
// All of it is tests.
package room
