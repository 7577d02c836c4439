package option

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Separators are what values of lists are separated with elsewhere.
const Separators = ",;，；、"

// IsFullWidth reports whether a character is a Chinese keyboard's in place of an
// ASCII one.
func IsFullWidth(r rune) bool {
	return r == '\u3000' || r >= '\uff01' && r <= '\uff5e' || strings.ContainsRune("“”‘’「」", r)
}

// quotes are what values are put into where they come from.
const quotes = "\"'`“”„‘’「」『』＂＇"

// CheckCharacters refuses a value with characters that came in on its way: with
// quotes around it, or of a Chinese keyboard.
func CheckCharacters(option, value string) error {
	first, _ := utf8.DecodeRuneInString(value)
	last, _ := utf8.DecodeLastRuneInString(value)
	begins, ends := strings.ContainsRune(quotes, first), strings.ContainsRune(quotes, last)
	// A caller's key may be anything, and so may the secret for a hub, which is a
	// caller's key there.
	isKey := option == Key || option == Secret
	if begins && ends && utf8.RuneCountInString(value) > 1 || !isKey && (begins || ends) {
		return fmt.Errorf("%s is in quotes, which are taken for a part of it: write it without them", option)
	}
	if option == Key || option == Sign || option == Verify { // PEM has lines
		return nil
	}
	for _, r := range value {
		switch {
		case IsFullWidth(r):
			return fmt.Errorf("%s has the full-width character %q: write it in ASCII", option, r)
		case isKey:
		case r > unicode.MaxASCII && (option == AppID || option == CorpID), unicode.IsSpace(r), unicode.IsControl(r):
			return fmt.Errorf("%s has a space, or a character that is not ASCII: leave it out", option)
		}
	}
	return nil
}

// CheckTokens refuses the punctuation of a Chinese keyboard, which looks like
// Caddy's and is taken for a part of a word.
func CheckTokens(d *caddyfile.Dispenser) error {
	before := ""
	for at := *d; at.Next(); before = at.Val() {
		if i := strings.IndexAny(at.Val(), "｛｝：\u3000"); i >= 0 && before != Key {
			r, _ := utf8.DecodeRuneInString(at.Val()[i:])
			ascii := r - '\uff01' + '!'
			if r == '\u3000' {
				ascii = ' '
			}
			return at.Errf("there is a full-width %c: write %c, with an English keyboard", r, ascii)
		}
	}
	return nil
}
