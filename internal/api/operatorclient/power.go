package operatorclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// maxOutcome bounds one line of the answer to a power request in bytes.
const maxOutcome = 64 << 10

// Power reads or switches the power of the machines that q names, and calls
// each with what became of each as it is known. When ctx ends no further
// machine is touched.
func (c *Client) Power(ctx context.Context, q api.PowerRequest, each func(api.PowerOutcome)) error {
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(maxSilence, cancel)
	defer silent.Stop()
	resp, err := c.do(ctx, http.MethodPost, api.PathPower, bytes.NewReader(body), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxOutcome)
	for lines.Scan() {
		silent.Reset(maxSilence)
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var o api.PowerOutcome
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return fmt.Errorf("reading what became of a machine: %w", err)
		}
		each(o)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading what became of the machines: %w", err)
	}
	return nil
}
