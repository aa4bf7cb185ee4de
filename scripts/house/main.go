// House measures the tree: the size of types, packages, files, the direction of
// imports, the ideas in package comments.
//
// It fails where a figure is over its limit and known.txt does not allow it.
// What is there may only shrink: a figure that has fallen below its line is an
// error too, until `house -lower` has written it down.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// knownFile lists what is over a limit today.
const knownFile = "scripts/house/known.txt"

func main() {
	lower := flag.Bool("lower", false, "write figures that have fallen into "+knownFile)
	flag.Parse()
	if err := run(os.Stdout, *lower); err != nil {
		fmt.Fprintln(os.Stderr, "house:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, lower bool) error {
	tree, err := read(os.DirFS("."))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.FromSlash(knownFile))
	if err != nil {
		return fmt.Errorf("reading what is known: %w", err)
	}
	known, err := parseKnown(text)
	if err != nil {
		return fmt.Errorf("%s: %w", knownFile, err)
	}
	over := tree.over()
	report(out, tree, over)
	if lower {
		if now := known.lowered(over).bytes(); !bytes.Equal(now, text) {
			return os.WriteFile(filepath.FromSlash(knownFile), now, 0o644)
		}
		return nil
	}
	complaints := known.compare(over)
	for _, c := range complaints {
		fmt.Fprintln(out, c)
	}
	if n := len(complaints); n > 0 {
		return fmt.Errorf("%d figures are not as %s allows", n, knownFile)
	}
	return nil
}

// report writes the largest of each kind, and how many are over the limit.
func report(out io.Writer, tree *tree, over []finding) {
	count := map[rule]int{}
	for _, f := range over {
		count[f.rule]++
	}
	fmt.Fprintf(out, "%d packages\n", len(tree.packages))
	for _, r := range rules {
		largest := finding{}
		for _, f := range tree.figures {
			if f.rule == r && f.figure > largest.figure {
				largest = f
			}
		}
		fmt.Fprintf(out, "%-8s at most %4d %-32s %3d over, the largest %d %s\n",
			r, limits[r].most, limits[r].unit+",", count[r], largest.figure, largest.place)
	}
}
