package etcd

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"go.uber.org/zap/zapcore"
)

// ending takes etcd's last words. Where etcd can go no further it ends the
// process, or panics in a goroutine of its own, and nobody learns why; here
// only that goroutine ends, and who runs etcd is told.
type ending struct {
	once sync.Once
	done chan struct{} // closed when etcd cannot continue
	err  error         // why, once done is closed
}

func newEnding() *ending { return &ending{done: make(chan struct{})} }

// OnWrite implements zapcore.CheckWriteHook for the levels that end a process.
func (e *ending) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	// Old files that could not be removed now take room and harm nothing.
	if !strings.HasPrefix(entry.Message, "failed to purge") {
		e.end(reason(entry.Message, fields))
	}
	runtime.Goexit()
}

func (e *ending) end(err error) {
	e.once.Do(func() {
		e.err = err
		close(e.done)
	})
}

// reason is a message with the error among its fields.
func reason(message string, fields []zapcore.Field) error {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			return fmt.Errorf("%s: %w", message, err)
		}
	}
	return errors.New(message)
}
