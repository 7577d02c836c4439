package option

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckName refuses names that could not be written in a Caddyfile or a URL.
func CheckName(name string) error {
	if name == "" || strings.ContainsAny(name, " \t\r\n/{}") {
		return fmt.Errorf("%q is no name: write one without spaces, slashes and braces", name)
	}
	return nil
}

var (
	looksLikeAppID  = regexp.MustCompile(`^(?i:wx[0-9a-f]{16})$`)
	looksLikeSecret = regexp.MustCompile(`^(?i:[0-9a-f]{32})$`)
)

// CheckNotSwapped refuses an AppSecret in place of the AppID, and the reverse.
func CheckNotSwapped(appID, secret string) error {
	if looksLikeSecret.MatchString(appID) && looksLikeAppID.MatchString(secret) {
		return errors.New("appid and secret are swapped: write the one that begins with wx as appid")
	}
	return nil
}

// CheckAppID refuses what is another of the things that WeChat's console shows.
func CheckAppID(appID string) error {
	switch {
	case looksLikeSecret.MatchString(appID):
		return errors.New("appid has the form of an AppSecret: write the AppID, which begins with wx")
	case strings.HasPrefix(appID, "gh_"):
		return errors.New("appid is the account's original ID: write its AppID, which begins with wx")
	case HasPlaceholder(appID):
		return nil
	}
	if i := strings.IndexFunc(appID, isNoAppIDCharacter); i >= 0 {
		r, _ := utf8.DecodeRuneInString(appID[i:])
		return fmt.Errorf("appid has the character %q, which no AppID has: leave it out, and write it like wx0123456789abcdef", r)
	}
	return nil
}

func isNoAppIDCharacter(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r)
}

// wecomSecretLength is how many characters an application's Secret has, as far as
// any was seen.
const wecomSecretLength = 43

// CheckCorpID refuses what is another of the things that WeCom's console shows.
func CheckCorpID(corpID string) error {
	if len(corpID) == wecomSecretLength && !strings.Contains(corpID, "{") {
		return errors.New("corpid has the form of an application's Secret: write the corporation's ID, which begins with ww")
	}
	if isDigits(corpID) {
		return errors.New("corpid is a number, as an AgentId is: write the corporation's ID, which begins with ww")
	}
	return nil
}

// CheckAgentID refuses what is no number.
func CheckAgentID(id string) error {
	if !isDigits(id) {
		return errors.New("agentid is no number: write the application's AgentId, like 1000002")
	}
	return nil
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }
