// Package room runs a real server and hundreds of real agents, each a process
// with a file for its disk, and compares what every one of them says with what
// the others say. All of it is tests.
package room
