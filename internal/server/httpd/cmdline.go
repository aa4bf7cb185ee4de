package httpd

import "github.com/gild-dev/gild/internal/golden/bootline"

// KernelCmdline joins the words that gild needs and the image's own, which
// keep their order. From the image it drops what would tell the agent
// something (gild.*), what takes its place as the first program (rdinit=) and
// what names files of another boot loader. ticket ties the agent to the script
// that boots it; empty: none. rescue asks for a shell.
func KernelCmdline(image, server, ticket string, rescue bool) (string, error) {
	words := []string{"gild.server=" + server}
	if ticket != "" {
		words = append(words, "gild.ticket="+ticket)
	}
	if rescue {
		words = append(words, "gild.rescue")
	}
	return bootline.Join(append(words, bootline.Words(image)...))
}
