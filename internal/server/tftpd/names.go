package tftpd

import (
	"io/fs"
	"slices"
	"strings"
)

// spellings are the names that a client may mean by what it asks for, the
// likeliest first. Each is valid by [fs.ValidPath] and of printable ASCII: it
// is looked up in a table and joined to nothing.
//
// Boot ROMs have taken names from option 67 that they read on to the next NUL,
// so that the code and the length of the option behind it, or the end mark, are
// part of the name. Others put a slash, a drive's backslash, a directory of
// another server or a whole URL before it, or ask for it in capitals.
func spellings(asked string) (all []string) {
	s := strings.ReplaceAll(asked, `\`, "/")
	if _, rest, url := strings.Cut(s, "://"); url {
		_, s, _ = strings.Cut(rest, "/")
	}
	for _, part := range strings.Split(s, "/") {
		if part == ".." {
			return nil
		}
	}
	for s != strings.TrimPrefix(strings.TrimPrefix(s, "/"), "./") {
		s = strings.TrimPrefix(strings.TrimPrefix(s, "/"), "./")
	}
	tails := []string{s}
	if odd := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }); odd >= 0 {
		// What follows the name is an option's code, which may be a letter, its length,
		// which may be one too, and its value.
		tails = tails[:0]
		for cut := odd; cut > 0 && cut >= odd-2; cut-- {
			tails = append(tails, s[:cut])
		}
	}
	for _, name := range tails {
		short := strings.TrimPrefix(name, "tftpboot/")
		for _, spelling := range []string{name, short, strings.ToLower(short)} {
			if spelling != "." && fs.ValidPath(spelling) && !slices.Contains(all, spelling) {
				all = append(all, spelling)
			}
		}
	}
	return all
}
