package option

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// HasPlaceholder reports whether a value has placeholders, so that it depends on
// the environment or on the request.
func HasPlaceholder(value string) bool { return strings.Contains(value, "{") }

// Resolve returns an option's value with its placeholders replaced. A
// placeholder that stands for nothing is an error: the proxy would otherwise
// start with a secret that is missing. Errors repeat no value.
func Resolve(option, value string) (string, error) {
	if value == "" {
		return "", fmt.Errorf("%s is missing: write %s {env.…}, for example", option, option)
	}
	if err := CheckPlaceholders(option, value); err != nil {
		return "", err
	}
	resolved, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	// A file may end with line breaks, and begin with a byte order mark.
	if resolved = strings.TrimSpace(strings.TrimPrefix(resolved, "\ufeff")); err == nil && resolved != "" {
		return resolved, CheckCharacters(option, resolved)
	}
	placeholder := strings.TrimSuffix(strings.TrimPrefix(value, "{"), "}")
	if len(placeholder) != len(value)-2 || strings.ContainsAny(placeholder, "{}") {
		// What stands beside a placeholder may be secret.
		return "", fmt.Errorf("a placeholder of %s is empty or unknown: %s", option, cureOf(firstPlaceholder(value)))
	}
	return "", fmt.Errorf("%s %s is empty: %s", option, value, cureOf(placeholder))
}

// cureOf says how a placeholder gets a value.
func cureOf(placeholder string) string {
	if name, ok := strings.CutPrefix(placeholder, "env."); ok {
		return "set the environment variable " + name + ", for example in a file for --envfile"
	}
	if name, ok := strings.CutPrefix(placeholder, "file."); ok {
		return "write it into the file " + name
	}
	return "Caddy knows nothing by this name here, so write {env.NAME} or {file./path/of/it}"
}

// firstPlaceholder returns the first placeholder in a value that stands for
// nothing, without its braces, or "".
func firstPlaceholder(value string) string {
	for _, match := range placeholderName.FindAllStringSubmatch(value, -1) {
		if resolved, err := caddy.NewReplacer().ReplaceOrErr(match[0], true, true); err != nil || resolved == "" {
			return match[1]
		}
	}
	return ""
}

var placeholderName = regexp.MustCompile(`\{(env\.\w+|file\.[^{}]+)\}`)

// mistakenPlaceholders are how other programs write the value of an environment
// variable. Its name is what the first group matches.
var mistakenPlaceholders = [...]*regexp.Regexp{
	regexp.MustCompile(`\$\{(?:env\.)?([A-Za-z_]\w*)\}`),
	regexp.MustCompile(`\{\{? ?\$?\.?([A-Za-z_]\w*) ?\}`),
	regexp.MustCompile(`\{(?:ENV|Env)[.:]([A-Za-z_]\w*)\}`),
	regexp.MustCompile(`\{env:([A-Za-z_]\w*)\}`),
	regexp.MustCompile(`^%([A-Za-z_]\w*)%$`),
	// A dollar sign may be part of a key or a password.
	regexp.MustCompile(`(?:^|[/:@])\$([A-Z_][A-Z0-9_]*)(?:$|[/:@?])`),
}

// looksLikeVariable is for names that can be shown.
var looksLikeVariable = regexp.MustCompile(`^(?:[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*|[a-z][a-z0-9]*(?:_[a-z0-9]+)+)$`)

var (
	brokenPlaceholder = regexp.MustCompile(`\{(?:env|file)\.[^{}]*(?:$|\}\})`)
	bareVariable      = regexp.MustCompile(`^(?:env\.\w+|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)$`)
	barePath          = regexp.MustCompile(`^@?/(?:run|etc|var|home|root|secrets|opt|tmp)/[^{}]+$`)
	inBrackets        = regexp.MustCompile(`^<.*>$`)
)

// anyDollar is for an AppID, which never has a dollar sign.
var anyDollar = regexp.MustCompile(`\$([A-Za-z_]\w*)`)

// CheckPlaceholders refuses what is meant as a placeholder and is none.
func CheckPlaceholders(option, value string) error {
	refuse := func(match []string) error {
		name := match[1]
		if !looksLikeVariable.MatchString(name) {
			name = "NAME" // it may be a secret with a brace or a dollar sign
		}
		return fmt.Errorf("%s has no placeholder of Caddy's, but one of another program's: write {env.%s}", option, name)
	}
	for _, pattern := range mistakenPlaceholders {
		if match := pattern.FindStringSubmatch(value); match != nil {
			return refuse(match)
		}
	}
	if brokenPlaceholder.MatchString(value) {
		return fmt.Errorf("%s has a placeholder with a brace too few or too many: write {env.NAME} or {file./path/of/it}", option)
	}
	switch option {
	case AppID, CorpID, Secret, PushToken, PushAESKey:
		switch {
		case bareVariable.MatchString(value):
			return fmt.Errorf("%s is the name of a variable: write {env.%s}", option, strings.TrimPrefix(value, "env."))
		case barePath.MatchString(value):
			return fmt.Errorf("%s is a path: write {file.%s}", option, strings.TrimPrefix(value, "@"))
		case inBrackets.MatchString(value):
			return fmt.Errorf("%s is in angle brackets, as what is to be filled in: write the value itself, or {env.NAME}", option)
		}
	}
	if option == AppID || option == CorpID {
		if match := anyDollar.FindStringSubmatch(value); match != nil {
			return refuse(match)
		}
	}
	return nil
}
