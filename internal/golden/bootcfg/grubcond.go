package bootcfg

// branch is one if statement that the reader is in.
type branch struct {
	verdict verdict // of the part that is being read
	taken   bool    // a part before was certainly true
}

// verdict is what can be said about a condition without running the machine.
type verdict int

const (
	unknown verdict = iota // both sides are read
	yes
	no
)

// skipping tells whether what is read would certainly not run.
func (r *grubReader) skipping() bool {
	for _, b := range r.ifs {
		if b.verdict == no {
			return true
		}
	}
	return false
}

// control handles keywords and braces. It strips keywords in front of a command and reports whether nothing is left.
func (r *grubReader) control(words *[]word) bool {
	w := *words
	switch w[0].text {
	case "if":
		r.ifs = append(r.ifs, branch{verdict: judge(w[1:])})
		return true
	case "elif", "else":
		if len(r.ifs) == 0 {
			return true
		}
		b := &r.ifs[len(r.ifs)-1]
		b.taken = b.taken || b.verdict == yes
		switch {
		case b.taken:
			b.verdict = no
		case w[0].text == "elif":
			b.verdict = judge(w[1:])
			return true
		case b.verdict == no:
			b.verdict = yes
		}
		if w[0].text == "elif" {
			return true
		}
	case "fi":
		if len(r.ifs) > 0 {
			r.ifs = r.ifs[:len(r.ifs)-1]
		}
		return true
	case "then", "do":
	case "while", "until", "for", "done":
		return true
	case "}":
		r.close()
		return true
	default:
		if last := w[len(w)-1]; last.plain && last.text == "{" {
			r.open(w[:len(w)-1])
			return true
		}
		return false
	}
	*words = w[1:]
	if len(*words) == 0 {
		return true
	}
	return (*words)[0].plain && r.control(words)
}

// judge weighs the tests that need only variables: [ "$x" ], [ -z "$x" ], [ "$x" = y ]. An unset variable counts as
// empty in the first two, which is how scripts ask whether it is set; compared with a value it may be the firmware's.
func judge(w []word) verdict {
	if len(w) < 3 || w[0].text != "[" || w[len(w)-1].text != "]" {
		if len(w) != 2 || w[0].text != "[" { // [ $unset ] leaves only the brackets
			return unknown
		}
		return no
	}
	w = w[1 : len(w)-1]
	switch {
	case len(w) == 1:
		return verdictOf(w[0].text != "")
	case len(w) == 2 && w[0].text == "-z":
		return verdictOf(w[1].text == "")
	case len(w) == 2 && w[0].text == "-n":
		return verdictOf(w[1].text != "")
	case len(w) == 3 && !w[0].unset && !w[2].unset && (w[1].text == "=" || w[1].text == "=="):
		return verdictOf(w[0].text == w[2].text)
	case len(w) == 3 && !w[0].unset && !w[2].unset && w[1].text == "!=":
		return verdictOf(w[0].text != w[2].text)
	}
	return unknown
}

func verdictOf(b bool) verdict {
	if b {
		return yes
	}
	return no
}
