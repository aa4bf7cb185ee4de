package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/gild-dev/gild/internal/golden"
)

// bestLevel is the highest level of the program that gains anything within the
// window of one chunk.
const bestLevel = "-19"

// zstdProgram runs the program zstd for every chunk. It reaches what the
// encoder written in Go does not, and a start of it costs nothing beside the
// time that it then takes. The chunk comes and the frame goes by pipe: no name
// of a file is on its command line, and there is no shell.
type zstdProgram struct {
	ctx   context.Context
	path  string
	check *zstd.Decoder
}

func newZstdProgram(ctx context.Context) (*zstdProgram, bool) {
	path, err := exec.LookPath("zstd")
	if err != nil {
		return nil, false
	}
	says, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil || !strings.Contains(strings.ToLower(string(says)), "zstandard") {
		return nil, false
	}
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderMaxWindow(golden.MaxChunkSize),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, false
	}
	return &zstdProgram{ctx, path, dec}, true
}

func (z *zstdProgram) encode(dst, src []byte) ([]byte, error) {
	var stderr bytes.Buffer
	out := bytes.NewBuffer(dst)
	//nolint:gosec // the path is that of LookPath
	cmd := exec.CommandContext(z.ctx, z.path, "-q", bestLevel, "--single-thread", "--check",
		"--stream-size="+strconv.Itoa(len(src)), "-c")
	cmd.Env = []string{} // ZSTD_CLEVEL and the like are the operator's, not ours
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(src), out, &stderr
	if err := cmd.Run(); err != nil {
		if z.ctx.Err() != nil {
			return nil, context.Cause(z.ctx)
		}
		return nil, fmt.Errorf("zstd: %w: %.200s", err, strings.TrimSpace(stderr.String()))
	}
	frame := out.Bytes()
	if err := z.holds(frame[len(dst):], src); err != nil {
		return nil, fmt.Errorf("zstd (%s): %w", z.path, err)
	}
	return frame, nil
}

// holds checks what a foreign program gave, by this program's own decoder.
func (z *zstdProgram) holds(frame, src []byte) error {
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		return err
	}
	if !h.HasFCS || h.FrameContentSize != uint64(len(src)) || !h.HasCheckSum {
		return errors.New("its frame has no content size or no checksum")
	}
	raw, err := z.check.DecodeAll(frame, make([]byte, 0, len(src)))
	if err != nil {
		return err
	}
	if !bytes.Equal(raw, src) {
		return errors.New("its frame does not hold what it was given")
	}
	return nil
}

func (z *zstdProgram) close() { z.check.Close() }
