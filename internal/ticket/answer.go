package ticket

import (
	"encoding/json"
	"time"
)

// ExpiresIn is how long an application may use the ticket that it is handed
// before it asks again: not below what the SDK that takes the most off leaves
// something of, which is silenceper's with 1,500 s.
const ExpiresIn = 30 * time.Minute

// Answer returns what WeChat answers who asks for a ticket, with a time that is
// true.
func Answer(ticket string) []byte {
	// Encoding strings and numbers cannot fail.
	body, _ := json.Marshal(struct {
		Errcode   int    `json:"errcode"`
		Errmsg    string `json:"errmsg"`
		Ticket    string `json:"ticket"`
		ExpiresIn int64  `json:"expires_in"`
	}{0, "ok", ticket, int64(ExpiresIn / time.Second)})
	return body
}
