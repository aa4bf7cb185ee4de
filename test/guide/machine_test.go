package guide

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/agent"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/door/firmware"
)

// server is where the page has the server.
const server = "http://10.0.7.1:8080"

// switchOn starts some machines, as processes.
func switchOn(ctx context.Context, n int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for i := range n {
		cmd := exec.CommandContext(ctx, self)
		cmd.Env = append(os.Environ(), envReader+"=", envMachine+"="+strconv.Itoa(i+1))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	return nil
}

// play is a machine: firmware, the agent, firmware again, and a system whose
// first words go to the server.
func play(ctx context.Context, number string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	mac, serial := fmt.Sprintf("52:54:00:07:00:%02x", n), fmt.Sprintf("7XK1%02d1", n+1)
	uuid := fmt.Sprintf("4c4c4544-0058-4b10-8031-b7c04f00%04d", n)
	query := url.Values{"mac": {mac}, "uuid": {uuid}, "serial": {serial}, "platform": {"efi"}}.Encode()
	script, err := get(ctx, server+firmware.PathScript+"?"+query)
	if err != nil {
		return err
	}
	ca, err := get(ctx, server+firmware.PathCA)
	if err != nil {
		return err
	}
	disk := mac + ".raw"
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(disk, 3<<30); err != nil {
		return err
	}
	beacon := ""
	err = agent.Rehearse(ctx, agent.Rehearsal{
		Servers: word(script, "gild.server"), Ticket: word(script, "gild.ticket"), CA: []byte(ca),
		Inventory: api.Inventory{
			MAC: mac, UUID: uuid, Serial: serial, Vendor: "Example", Product: "R1", CPU: "Example 8C", CPUs: 8, Memory: 32 << 30, Arch: "amd64",
			Kernel: "6.1.0", NICs: []api.NIC{{Name: "eth0", MAC: mac, Driver: "e1000e", Carrier: true}},
		},
		Disk: disk, Drive: api.Disk{Name: "nvme0n1", Serial: "S4EW" + serial, Model: "Example NVMe", Transport: "nvme"},
		Became: func(id api.Identity) { beacon = id.BeaconURL },
	})
	if err != nil {
		return err
	}
	if _, err := get(ctx, server+firmware.PathScript+"?"+query); err != nil || beacon == "" {
		return err
	}
	return call(ctx, beacon, ca)
}

// word is the value of a word in a boot script.
func word(script, key string) string {
	for w := range strings.FieldsSeq(script) {
		if value, ok := strings.CutPrefix(w, key+"="); ok {
			return value
		}
	}
	return ""
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return ask(ctx, http.DefaultClient, http.MethodGet, url)
}

func call(ctx context.Context, beacon, ca string) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca))
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}}
	defer trusting.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := ask(ctx, trusting, http.MethodPost, beacon)
	return err
}

func ask(ctx context.Context, by *http.Client, method, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := by.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode >= http.StatusMultipleChoices {
		return "", fmt.Errorf("%s: %s", url, resp.Status)
	}
	return string(text), err
}
