// Site renders the documents as pages to read offline; a link that leads
// nowhere is an error.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("o", "", "directory to write the pages to; empty: only look at the links")
	flag.Parse()
	if err := run(os.DirFS("."), *out); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}
