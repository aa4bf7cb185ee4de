package term

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/cli/exit"
)

// Column is one thing that a list says of each of its items.
type Column[T any] struct {
	Header string // in capitals; in small letters it is the key of --sort
	Wide   bool   // only with -o wide
	Soft   bool   // is cut before all others
	Text   func(*T) string
	// Compare orders two items; nil: by their texts.
	Compare func(a, b *T) int
	Style   func(*T) Style // nil: plain
}

// List is items in columns. The first column names them.
type List[T any] struct {
	Items   []T
	Columns []Column[T]
}

// ListOptions are the flags of a command that lists.
type ListOptions struct {
	Quiet bool   // names only
	Sort  string // key of a column, with "-" in front to turn it round; empty: as it comes
}

// PrintList prints a list in the form that is asked for. An unknown key to sort
// by is wrong use.
func PrintList[T any](c *Console, l List[T], o ListOptions) error {
	if err := l.sort(o.Sort); err != nil {
		return err
	}
	names := o.Quiet || c.Output == OutputName
	if c.JSON && !names {
		return c.PrintJSON(NonNil(l.Items))
	}
	return c.Paged(func() error {
		if !names {
			c.Table(c.Stdout, l.Table(c.Output == OutputWide))
			return nil
		}
		for i := range l.Items {
			fmt.Fprintln(c.Stdout, l.Columns[0].Text(&l.Items[i]))
		}
		return nil
	})
}

// Table is the list as a table.
func (l List[T]) Table(wide bool) Table {
	columns := slices.DeleteFunc(slices.Clone(l.Columns), func(c Column[T]) bool { return c.Wide && !wide })
	var t Table
	for i, c := range columns {
		t.Header = append(t.Header, c.Header)
		if c.Soft {
			t.Soft = i
		}
	}
	for i := range l.Items {
		row := make([]string, len(columns))
		for j, c := range columns {
			row[j] = c.Text(&l.Items[i])
		}
		t.Rows = append(t.Rows, row)
	}
	t.Paint = func(row, col int) Style {
		if style := columns[col].Style; style != nil {
			return style(&l.Items[row])
		}
		return Plain
	}
	return t
}

func (l List[T]) sort(key string) error {
	if key == "" {
		return nil
	}
	name, turned := strings.CutPrefix(key, "-")
	var keys []string
	for _, c := range l.Columns {
		if keys = append(keys, strings.ToLower(c.Header)); keys[len(keys)-1] != name {
			continue
		}
		compare := c.Compare
		if compare == nil {
			compare = func(a, b *T) int { return strings.Compare(c.Text(a), c.Text(b)) }
		}
		slices.SortStableFunc(l.Items, func(a, b T) int {
			if turned {
				a, b = b, a
			}
			return compare(&a, &b)
		})
		return nil
	}
	return exit.Usage(fmt.Errorf("--sort %.60q: sort by one of %s, with - in front to turn it round", key, strings.Join(keys, ", ")))
}
