package term

// Style is how a piece of text looks. It only stresses what the text says.
type Style string

// Styles, as the parameters of SGR (ECMA-48, section 8.3.117).
const (
	Plain  Style = ""
	Bold   Style = "1"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Cyan   Style = "36"
)

// Palette paints text where colour is wanted.
type Palette struct{ On bool }

// Paint gives the text the style.
func (p Palette) Paint(s Style, text string) string {
	if !p.On || s == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
