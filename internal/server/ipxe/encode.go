package ipxe

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/gild-dev/gild/internal/golden/bootline"
)

// ValueError says which value cannot be put into a script, and why.
type ValueError struct {
	Field string // the field of the typed script, such as "command line"
	Why   string
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("iPXE script: %s: %s", e.Field, e.Why)
}

// maxURL bounds a URL; iPXE itself keeps whole lines in memory and has no use
// for longer ones.
const maxURL = 1024

// iPXE has no quoting. It expands ${...}, joins a line that ends in a backslash
// with the next one, splits at white space, takes the words && || ; as ends of
// a command and a word that starts with # as a comment. So there is no way to
// escape: a character outside of these lists is refused, or shown as "?" where
// the text is only for the eye.
const (
	alnum     = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	nameChars = alnum + "-_."
	urlChars  = alnum + "-._~:/?%=+,@!*'()[]"
	textChars = alnum + "-._~:/?%=+,@!*'()[]\"<> "
)

// word checks that s is one non-empty word of the given characters.
func word(field, s, allowed string) (string, error) {
	if s == "" {
		return "", &ValueError{field, "is empty"}
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(allowed, r) }); i >= 0 {
		return "", &ValueError{field, fmt.Sprintf("%.40q at byte %d cannot be written in a script, which has no quoting", s[i:], i)}
	}
	return s, nil
}

// address checks an absolute URL that iPXE can fetch. A word that starts with
// "-" would be read as an option; a URL with a scheme cannot.
func address(field, s string) (string, error) {
	if len(s) > maxURL {
		return "", &ValueError{field, fmt.Sprintf("URL of %d bytes, at most %d", len(s), maxURL)}
	}
	if _, err := word(field, s, urlChars); err != nil {
		return "", err
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", &ValueError{field, "is not a URL"}
	}
	switch u.Scheme {
	case "http", "https", "tftp":
	default:
		return "", &ValueError{field, fmt.Sprintf("URL scheme %q: http, https and tftp are known", u.Scheme)}
	}
	if u.Hostname() == "" {
		return "", &ValueError{field, "URL without a host"}
	}
	return s, nil
}

// cmdline checks a kernel command line and gives it with single blanks: iPXE
// would squeeze them anyway, and what was checked should be what the kernel
// gets.
func cmdline(s string) (string, error) {
	if len(s) > bootline.KernelMax {
		return "", &ValueError{"command line", fmt.Sprintf("%d bytes, the kernel takes %d", len(s), bootline.KernelMax)}
	}
	words := strings.Split(s, " ")
	out := words[:0]
	for _, w := range words {
		if w == "" {
			continue
		}
		if _, err := word("command line", w, bootline.Chars); err != nil {
			return "", err
		}
		out = append(out, w)
	}
	return strings.Join(out, " "), nil
}

// text makes any bytes fit to be shown by echo on a console of 80 columns.
func text(s string) string {
	const width = 72
	var b strings.Builder
	for _, r := range s {
		if b.Len() == width {
			break
		}
		if !strings.ContainsRune(textChars, r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
