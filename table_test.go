package weixin

import (
	"strings"
	"testing"
)

// Whatever the names are written in, a column begins where its header does.
func TestTableAligns(t *testing.T) {
	var rows table
	rows.row("ACCOUNT", "STATE", "TOKEN")
	for _, name := range []string{"shop", "商城", "小程序-订单", "ｆｕｌｌ", "cafe\u0301", "カフェ", "가게", "🛒 cart", ""} {
		rows.row(name, "ok", "-")
	}
	var b strings.Builder
	if err := rows.writeTo(&b); err != nil {
		t.Fatal(err)
	}
	column := 0
	for line := range strings.Lines(b.String()) {
		for _, state := range []string{"STATE", "ok"} {
			before, _, ok := strings.Cut(line, state+"  ")
			if !ok {
				before, _, ok = strings.Cut(line, state+"     ")
			}
			if !ok {
				continue
			}
			if column == 0 {
				column = displayWidth(before)
			}
			if got := displayWidth(before); got != column {
				t.Errorf("%q: the column begins at %d, and not at %d", line, got, column)
			}
		}
		if strings.HasSuffix(line, " \n") {
			t.Errorf("%q ends with spaces", line)
		}
	}
	if column != 13 { // the widest name takes 11 columns
		t.Errorf("the second column begins at %d", column)
	}
}

func TestDisplayWidth(t *testing.T) {
	for text, want := range map[string]int{"": 0, "shop": 4, "商城": 4, "ｆ": 2, "e\u0301": 1, "a\u200bb": 2, "🛒": 2, "ｱ": 1, "–": 1} {
		if got := displayWidth(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}
