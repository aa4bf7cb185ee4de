package grub

import (
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/golden/bootcfg/grub/script"
)

// test is the command test, and [ (commands/test.c): from left to right, forms
// of three arguments first. Terms side by side are and-ed; -a does nothing.
func test(r *runner, c *call) int {
	args := c.args
	if c.name == "[" && len(args) > 0 && args[len(args)-1] == "]" {
		args = args[:len(args)-1]
	}
	t := &expression{r: r, args: args, line: c.line}
	if t.eval() {
		return 0
	}
	return errCode
}

type expression struct {
	r     *runner
	args  []string
	line  int
	depth int
}

// eval takes arguments to the end, or to the closing parenthesis.
func (t *expression) eval() bool {
	and, or, invert := true, false, false
	update := func(v bool) { and, invert = and && v != invert, false }
	for len(t.args) > 0 {
		if len(t.args) > 2 {
			if v, ok := t.three(t.args[0], t.args[1], t.args[2]); ok {
				update(v)
				t.args = t.args[3:]
				continue
			}
		}
		if len(t.args) > 1 {
			if v, ok := t.two(t.args[0], t.args[1]); ok {
				update(v)
				t.args = t.args[2:]
				continue
			}
		}
		a := t.args[0]
		t.args = t.args[1:]
		switch a {
		case ")":
			return or || and
		case "(":
			if t.depth++; t.depth > script.MaxDepth {
				return false
			}
			update(t.eval())
			t.depth--
		case "!":
			invert = !invert
		case "-a":
		case "-o":
			or, and = or || and, true
		default:
			update(t.text(a))
		}
	}
	return or || and
}

// text reports whether a string has anything in it.
func (t *expression) text(s string) bool {
	if strings.ReplaceAll(s, unknown, "") != s {
		return t.guess("whether " + shown(s) + " is empty")
	}
	return s != ""
}

// guess answers what the image does not: no first, as where a variable of the
// firmware is not set.
func (t *expression) guess(what string) bool { return t.r.ask(t.line, what, 2) == 1 }

// shown is a value as a question has it.
func shown(s string) string {
	if i := strings.Index(s, unknown); i >= 0 {
		if rest, _, ok := strings.Cut(s[i+1:], unknown); ok && rest != "" {
			return "what " + rest + " gives"
		}
		return "a value"
	}
	return strconv.Quote(s)
}

func (t *expression) three(a, op, b string) (value, ok bool) {
	compare, known := comparisons[op]
	bias := ""
	if !known {
		for _, time := range []string{"-nt", "-ot"} {
			if rest, found := strings.CutPrefix(op, time); found && (rest == "" || strings.IndexByte("-0123456789", rest[0]) >= 0) {
				op, bias, known = time, rest, true
			}
		}
		if !known {
			return false, false
		}
		return t.newer(a, b, op, bias), true
	}
	if isUnknown(a) || isUnknown(b) {
		return t.guess("whether " + shown(a) + " " + op + " " + shown(b)), true
	}
	return compare(a, b), true
}

var comparisons = map[string]func(a, b string) bool{
	"=":    func(a, b string) bool { return a == b },
	"==":   func(a, b string) bool { return a == b },
	"!=":   func(a, b string) bool { return a != b },
	"<":    func(a, b string) bool { return a < b },
	"<=":   func(a, b string) bool { return a <= b },
	">":    func(a, b string) bool { return a > b },
	">=":   func(a, b string) bool { return a >= b },
	"-eq":  func(a, b string) bool { return number(a) == number(b) },
	"-ne":  func(a, b string) bool { return number(a) != number(b) },
	"-lt":  func(a, b string) bool { return number(a) < number(b) },
	"-le":  func(a, b string) bool { return number(a) <= number(b) },
	"-gt":  func(a, b string) bool { return number(a) > number(b) },
	"-ge":  func(a, b string) bool { return number(a) >= number(b) },
	"-pgt": func(a, b string) bool { a, b = tails(a, b); return number(a) > number(b) },
	"-plt": func(a, b string) bool { a, b = tails(a, b); return number(a) < number(b) },
}

// tails cuts what two strings have in common at the front, but for digits at
// its end.
func tails(a, b string) (string, string) {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	i--
	for i > 0 && a[i] >= '0' && a[i] <= '9' {
		i--
	}
	i++
	return a[i:], b[i:]
}

// number reads the leading number of a string, in the base that its prefix
// tells; 0 when there is none. GRUB counts in 32 bits here.
func number(s string) int32 {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	negative := strings.HasPrefix(s, "-")
	n, _, _ := unsigned(strings.TrimPrefix(s, "-"))
	if negative {
		n = -n
	}
	return int32(n) //nolint:gosec // as GRUB does
}

// unsigned is grub_strtoul with base 0: 0x is hexadecimal, and 0 with an octal
// digit behind it is octal.
func unsigned(s string) (n uint64, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	base := uint64(10)
	switch {
	case len(s) > 2 && s[0] == '0' && s[1] == 'x' && digitValue(s[2]) < 16:
		base, s = 16, s[2:]
	case len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '7':
		base, s = 8, s[1:]
	}
	i := 0
	for ; i < len(s) && digitValue(s[i]) < base; i++ {
		n = n*base + digitValue(s[i])
	}
	return n, s[i:], i > 0
}

func digitValue(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return uint64(c|0x20-'a') + 10
	}
	return 99
}

func (t *expression) two(op, a string) (value, ok bool) {
	switch op {
	case "-n":
		return t.text(a), true
	case "-z":
		return !t.text(a), true
	case "-d", "-e", "-f", "-s":
	default:
		return false, false
	}
	info, exists, known := t.r.lookup(a, op == "-s")
	switch {
	case !known:
		return t.guess("whether " + shown(a) + " exists"), true
	case op == "-e" && a == "":
		return true, true
	case op == "-e" && !exists && onlyDevice(a):
		f, _ := t.r.file(a)
		return f.Device != nil, true
	case op == "-d" && !exists && onlyDevice(a):
		f, _ := t.r.file(a)
		return f.Device != nil && f.Device.FS != nil, true
	case !exists:
		return false, true
	}
	switch op {
	case "-d":
		return info.IsDir(), true
	case "-f":
		return !info.IsDir(), true
	case "-s":
		return info.Mode().IsRegular() && info.Size() > 0, true
	}
	return true, true
}

func onlyDevice(s string) bool { return strings.HasPrefix(s, "(") && strings.HasSuffix(s, ")") }

// newer compares times, with bias seconds added to the first.
func (t *expression) newer(a, b, op, bias string) bool {
	x, xExists, xKnown := t.r.lookup(a, false)
	y, yExists, yKnown := t.r.lookup(b, false)
	switch {
	case !xKnown || !yKnown:
		return t.guess("whether " + shown(a) + " " + op + " " + shown(b))
	case !xExists:
		return op == "-ot" && yExists
	case !yExists:
		return op == "-nt"
	}
	d := seconds(x) + int64(number(bias)) - seconds(y)
	if op == "-nt" {
		return d > 0
	}
	return d < 0
}

func seconds(info fs.FileInfo) int64 { return info.ModTime().Truncate(time.Second).Unix() }
