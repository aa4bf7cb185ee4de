package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// hostKeys removes the keys that every clone of the image would share and
// makes a new one, for Ed25519: every client of the last ten years takes that,
// and drawing an RSA key costs seconds on a slow processor. `ssh-keygen -A` in
// the new system makes the other kinds.
func (w *writer) hostKeys() error {
	if w.Identity.SSHHostKeys == "keep" {
		return nil
	}
	names, err := w.list("/etc/ssh")
	if err != nil || len(names) == 0 {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "ssh_host_") {
			if err := w.remove("/etc/ssh/" + name); err != nil {
				return err
			}
		}
	}
	if w.firstOf("/usr/sbin/sshd", "/usr/local/sbin/sshd") == "" {
		return nil // no server, no keys
	}
	k, err := drawEd25519()
	if err != nil {
		return err
	}
	comment := "root@" + w.Identity.Hostname
	const base = "/etc/ssh/ssh_host_ed25519_key"
	if err := w.write(base, k.private(comment), 0o600, root); err != nil {
		return err
	}
	line := k.kind + " " + base64.StdEncoding.EncodeToString(k.public) + " " + comment + "\n"
	return w.write(base+".pub", line, 0o644, root)
}

// sshKey is a key in the wire forms of SSH: a library for this would take
// more of the initramfs than all else in this package.
type sshKey struct {
	kind   string
	public []byte   // blob of the public key (RFC 4253, 6.6)
	secret [][]byte // fields of the private section after the kind
}

// drawEd25519 makes a key as RFC 8709 has it.
func drawEd25519() (sshKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return sshKey{}, err
	}
	const kind = "ssh-ed25519"
	return sshKey{kind, fields([]byte(kind), public), [][]byte{public, private}}, nil
}

// drawECDSA makes a key as RFC 5656 has it, on P-256.

// fields writes strings of SSH one after the other, each behind its length
// (RFC 4251, section 5).
func fields(all ...[]byte) []byte {
	var out []byte
	for _, f := range all {
		out = binary.BigEndian.AppendUint32(out, uint32(len(f)))
		out = append(out, f...)
	}
	return out
}

// private writes the key as OpenSSH keeps it, without a passphrase (its
// PROTOCOL.key).
func (k sshKey) private(comment string) string {
	var check [4]byte
	_, _ = rand.Read(check[:])
	inner := append(check[:], check[:]...)
	inner = append(inner, fields([]byte(k.kind))...)
	inner = append(inner, fields(k.secret...)...)
	inner = append(inner, fields([]byte(comment))...)
	for pad := byte(1); len(inner)%8 != 0; pad++ {
		inner = append(inner, pad)
	}
	blob := []byte("openssh-key-v1\x00")
	blob = append(blob, fields([]byte("none"), []byte("none"), nil)...)
	blob = binary.BigEndian.AppendUint32(blob, 1)
	blob = append(blob, fields(k.public, inner)...)

	text := base64.StdEncoding.EncodeToString(blob)
	var out strings.Builder
	out.WriteString("-----BEGIN OPENSSH PRIVATE KEY-----\n")
	for len(text) > 70 {
		out.WriteString(text[:70] + "\n")
		text = text[70:]
	}
	out.WriteString(text + "\n-----END OPENSSH PRIVATE KEY-----\n")
	return out.String()
}
