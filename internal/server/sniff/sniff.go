// Package sniff tells TLS from plain HTTP by the first byte of a connection.
package sniff

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Listener accepts connections of both kinds on one port: firmware and iPXE
// only do plain HTTP, agents only do TLS, and a second port would be a second
// rule of every firewall between them.
type Listener struct {
	net.Listener
	TLS *tls.Config
	// Refused is called with a handshake that did not succeed; nil: not called.
	Refused func(client net.Addr, err error)
}

// Accept waits for a connection, not for its first byte: a client that sends
// nothing is in nobody's way, and is counted.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, listener: l}, nil
}

// Secure makes http.Request.TLS say of each request how it came. It belongs to
// an http.Server on a Listener.
func Secure(s *http.Server) {
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(key{}).(*conn); ok {
			if t := c.tls.Load(); t != nil {
				state := t.ConnectionState()
				r.TLS = &state
			}
		}
		next.ServeHTTP(w, r)
	})
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, key{}, c)
	}
}

type key struct{}

// shakeWithin bounds a handshake from its first byte on.
const shakeWithin = 10 * time.Second

// recordHandshake is the first byte of a TLS connection (RFC 8446, 5.1). No
// method of HTTP begins with it.
const recordHandshake = 22

// conn is a connection whose kind is known from its first byte on.
type conn struct {
	net.Conn
	listener *Listener
	known    bool // only readers touch it
	tls      atomic.Pointer[tls.Conn]
}

// NetConn is the connection below, as that of a tls.Conn.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if !c.known && len(p) > 0 {
		if n, err := c.begin(p); n > 0 || err != nil {
			return n, err
		}
	}
	if t := c.tls.Load(); t != nil {
		return t.Read(p)
	}
	return c.Conn.Read(p)
}

// begin finds out what a connection is. The first byte of plain HTTP is given
// back in p, that of TLS is followed by the handshake.
func (c *conn) begin(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:1])
	if n == 0 {
		return 0, err
	}
	c.known = true
	if p[0] != recordHandshake {
		return 1, err
	}
	t := tls.Server(&begun{c.Conn, p[0], false}, c.listener.TLS)
	c.tls.Store(t)
	ctx, cancel := context.WithTimeout(context.Background(), shakeWithin)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		if c.listener.Refused != nil {
			c.listener.Refused(c.RemoteAddr(), err)
		}
		return 0, err
	}
	return 0, nil
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if t := c.tls.Load(); t != nil {
		return t.Write(p)
	}
	return c.Conn.Write(p)
}

// ReadFrom lets the kernel send files over plain HTTP (sendfile(2)).
func (c *conn) ReadFrom(src io.Reader) (int64, error) {
	if from, ok := c.Conn.(io.ReaderFrom); ok && c.tls.Load() == nil {
		return from.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{c}, src)
}

// CloseWrite ends one direction, so that a client that still sends gets the
// answer to read.
func (c *conn) CloseWrite() error {
	if t := c.tls.Load(); t != nil {
		return t.CloseWrite()
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if t := c.tls.Load(); t != nil {
		return t.Close()
	}
	return c.Conn.Close()
}

// begun is a connection whose first byte was taken already.
type begun struct {
	net.Conn
	first byte
	given bool
}

func (b *begun) Read(p []byte) (int, error) {
	if b.given || len(p) == 0 {
		return b.Conn.Read(p)
	}
	p[0], b.given = b.first, true
	return 1, nil
}
