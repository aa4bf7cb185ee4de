// Package local is how commands on the server's own machine reach a gild serve
// that runs there: HTTP on a socket in its data directory.
//
// Whoever may change the data directory may do to it what a running server
// does, and nobody else may: the socket is its owner's and root's. So the
// operator API asks for no token there.
package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	socketName = "control.sock"
	pathBackup = "/backup" // GET: everything that the state holds
	pathToken  = "/token"  // POST: a new admin token
)

const (
	// backupWithin bounds one backup, callWithin everything else.
	backupWithin = 10 * time.Minute
	callWithin   = 30 * time.Second
	// maxAnswer bounds in bytes what is read of an answer in words.
	maxAnswer = 4 << 10
)

// ErrNoServer means that no server listens in the data directory.
var ErrNoServer = errors.New("no gild serve runs on this data directory")

// Control is what a running server does when it is asked.
type Control struct {
	// Backup writes all of the state. What it writes ends with a mark, so that
	// a reader finds one that was cut short.
	Backup func(ctx context.Context, w io.Writer) error
	// NewToken replaces the admin token and returns the new one.
	NewToken func(ctx context.Context) (string, error)
	// Operator answers everything else: the operator API; nil: not found.
	Operator http.Handler
}

// Listen makes the socket of a data directory, from when on commands wait for
// an answer there. One that a killed server left is replaced.
func Listen(ctx context.Context, dir string) (net.Listener, error) {
	l, err := listen(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("listening in data directory %s: %w", dir, err)
	}
	return l, nil
}

// Serve answers in a data directory until ctx ends, and returns its error.
func (c *Control) Serve(ctx context.Context, dir string) error {
	l, err := Listen(ctx, dir)
	if err != nil {
		return err
	}
	return c.ServeOn(ctx, l)
}

// ServeOn is Serve on a socket that is there already.
func (c *Control) ServeOn(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           c.handler(),
		ReadHeaderTimeout: callWithin,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(owners{l}); ctx.Err() == nil {
		return fmt.Errorf("answering in the data directory: %w", err)
	}
	return ctx.Err()
}

func (c *Control) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathBackup, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), backupWithin)
		defer cancel()
		out := bufio.NewWriterSize(w, 64<<10)
		if err := errors.Join(c.Backup(ctx, out), out.Flush()); err != nil {
			// What was sent is cut off: it cannot pass for a backup.
			panic(http.ErrAbortHandler)
		}
	})
	mux.HandleFunc("POST "+pathToken, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), callWithin)
		defer cancel()
		token, err := c.NewToken(ctx)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, token+"\n")
	})
	if c.Operator != nil {
		mux.Handle("/", c.Operator)
	}
	return mux
}

// listen makes the socket. It is bound by way of the open directory, because
// the path of a socket has room for 107 bytes (unix(7)).
func listen(ctx context.Context, dir string) (net.Listener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if err := os.Remove(filepath.Join(dir, socketName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", within(d))
	if err != nil {
		return nil, err
	}
	// Its path ends with the descriptor: what stays behind when the server
	// ends is a socket that nobody answers at.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(filepath.Join(dir, socketName), 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func within(d *os.File) string {
	return "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + socketName
}

// owners lets in who runs as the server's user or as root. The mode of the
// socket says the same, but comes a moment after it.
type owners struct{ net.Listener }

// Accept waits for the next one who may come in.
func (l owners) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, err := peer(conn); err == nil && (uid == 0 || int(uid) == os.Geteuid()) {
			return conn, nil
		}
		conn.Close()
	}
}

// peer returns the user that has connected (SO_PEERCRED, unix(7)).
func peer(conn net.Conn) (uid uint32, err error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, failed
	}
	return cred.Uid, nil
}

// Client asks the server that runs on a data directory. Its calls return
// ErrNoServer, and have done nothing, when none does.
type Client struct{ Dir string }

// Operator is what BaseURL of the operator API's client is on the socket.
const Operator = "http://gild.local"

// HTTP is a client of the operator API: whatever host it is asked for, it
// reaches the socket. Its errors are ErrNoServer when nobody answers there.
func (c Client) HTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: c.dial, MaxIdleConnsPerHost: 16}}
}

// Answers reports whether a server listens in the data directory; ErrNoServer
// when none does.
func (c Client) Answers(ctx context.Context) error {
	conn, err := c.dial(ctx, "", "")
	if err != nil {
		return err
	}
	return conn.Close()
}

// Backup writes the server's backup to w.
func (c Client) Backup(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, backupWithin)
	defer cancel()
	body, err := c.call(ctx, http.MethodGet, pathBackup)
	if err != nil {
		return fmt.Errorf("asking the running server for a backup: %w", err)
	}
	defer body.Close()
	if _, err := io.Copy(w, body); err != nil {
		return fmt.Errorf("reading the server's backup: %w", err)
	}
	return nil
}

// NewToken has the server make a new admin token.
func (c Client) NewToken(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	body, err := c.call(ctx, http.MethodPost, pathToken)
	if err != nil {
		return "", fmt.Errorf("asking the running server for a new token: %w", err)
	}
	defer body.Close()
	p, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("reading the server's new token: %w", err)
	}
	return strings.TrimSpace(string(p)), nil
}

func (c Client) call(ctx context.Context, method, path string) (io.ReadCloser, error) {
	transport := &http.Transport{DialContext: c.dial, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, method, "http://gild"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the URL is nobody's business
		}
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		p, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return nil, errors.New(strings.TrimSpace(string(p)))
	}
	return resp.Body, nil
}

func (c Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	d, err := os.Open(c.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoServer
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", within(d))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNoServer
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("only its own user and root may: %w", fs.ErrPermission)
	}
	return conn, err
}
