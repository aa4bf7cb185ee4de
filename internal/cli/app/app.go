// Package app is what every command works with.
//
// The front door fills an [App] from flags, environment and terminal; a room of
// commands takes it as it is and reads none of them itself.
package app

import (
	"io"
	"net/http"
	"path/filepath"

	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/golden/store"
)

// App is the console, the data directory and the server of one command line.
type App struct {
	term.Console
	Server
	Data         string // directory of images and state
	DataNamed    bool   // by the environment
	Logins       string // file of the servers that the user has logged in to; empty: there can be none
	EtcdPassword string // of --etcd-user, where no file has it
	Confine      func(owned ...string) error
	Ready        func() error
}

// Surroundings are what a command may use of the world it is started in.
type Surroundings struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Confine takes from the process what a server needs no more; nil: nothing
	// is taken, as when it is not the command's own.
	Confine func(owned ...string) error
	// Ready tells whoever started the process that the server serves; nil:
	// nobody is told.
	Ready func() error
}

// OpenStore opens the images of the data directory.
func (a *App) OpenStore() (*store.Store, error) {
	return store.Open(filepath.Join(a.Data, "images"))
}

// HTTPClient gives a client for what is not gild's operator API.
func (a *App) HTTPClient() *http.Client { return &http.Client{} }
