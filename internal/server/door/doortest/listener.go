package doortest

import "net"

// One is a listener that gives one connection, such as an end of a net.Pipe,
// whose deadlines are a bubble's of synctest.
func One(c net.Conn) net.Listener { return &oneListener{conn: c, done: make(chan struct{})} }

type oneListener struct {
	conn net.Conn
	done chan struct{}
}

func (l *oneListener) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneListener) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func (l *oneListener) Addr() net.Addr { return &net.TCPAddr{} }
