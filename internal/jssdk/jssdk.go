// Package jssdk signs the addresses of web pages, so that the pages can call
// wx.config or wx.agentConfig and neither they nor their servers ever see a
// ticket.
//
// A signature is worth something on the page alone that it was made for, and
// WeChat compares that page with the account's own list. A signer that signs
// anything for anybody would still lend the account's name to whoever asks; so
// it signs pages of the hosts that the operator names, for pages of those hosts.
package jssdk

import (
	"crypto/sha1" //nolint:gosec // WeChat's signature is this
	"encoding/hex"
	"strconv"
)

// Sign returns the signature of a page's address, which has no fragment. All
// values are taken as they are.
func Sign(ticket, nonce string, timestamp int64, page string) string {
	text := "jsapi_ticket=" + ticket + "&noncestr=" + nonce + "&timestamp=" + strconv.FormatInt(timestamp, 10) + "&url=" + page
	sum := sha1.Sum([]byte(text)) //nolint:gosec // likewise
	return hex.EncodeToString(sum[:])
}
