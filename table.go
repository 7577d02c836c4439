package weixin

import (
	"io"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// table is text in rows and columns, the first row being the header. Unlike
// text/tabwriter it knows that Chinese characters take two columns of a terminal.
type table [][]string

// columnGap is between two columns.
const columnGap = 2

func (t *table) row(cells ...string) { *t = append(*t, cells) }

func (t *table) writeTo(w io.Writer) error {
	var widths []int
	for _, row := range *t {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], displayWidth(cell))
		}
	}
	var b strings.Builder
	for _, row := range *t {
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-displayWidth(cell)+columnGap))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// displayWidth returns how many columns of a terminal a text takes.
func displayWidth(s string) int {
	columns := 0
	for _, r := range s {
		kind := width.LookupRune(r).Kind()
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			columns += 2
		default:
			columns++
		}
	}
	return columns
}
