// House measures the tree: the size of types, packages, files, the direction of
// imports, the ideas in package comments, the width of lines; it fails where
// one is over its limit.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "house:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	tree, err := read(os.DirFS("."))
	if err != nil {
		return err
	}
	over := tree.over()
	report(out, tree, over)
	for _, f := range over {
		fmt.Fprintf(out, "%s %s: %d, at most %d %s\n", f.rule, f.place, f.figure, limits[f.rule].most, limits[f.rule].unit)
	}
	if len(over) > 0 {
		return fmt.Errorf("%d figures are over their limit", len(over))
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
