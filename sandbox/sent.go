package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// How much is remembered of what was sent; the oldest goes first.
const (
	maxMessages    = 1000
	maxMessageSize = 16 << 20 // of all together
)

// sentMessage is a message that was accepted, for whoever wants to see what
// their program has sent.
type sentMessage struct {
	Path  string          `json:"path"`
	AppID string          `json:"appid"` // WeCom: the corpid
	Agent string          `json:"agentid,omitempty"`
	At    time.Time       `json:"at"`
	Body  json.RawMessage `json:"body"`
}

func (c *call) noteMessageLocked() {
	m := &sentMessage{Path: c.r.URL.Path, At: c.now.UTC(), Body: c.json}
	switch {
	case c.agent != nil:
		m.AppID, m.Agent = c.agent.corp.id, c.agent.id
	case c.account != nil:
		m.AppID = c.account.AppID
	}
	s := c.server
	s.sent = append(s.sent, m)
	s.sentSize += len(m.Body)
	for len(s.sent) > maxMessages || s.sentSize > maxMessageSize {
		s.sentSize -= len(s.sent[0].Body)
		s.sent = slices.Delete(s.sent, 0, 1)
	}
}

// controlMessages lists what was sent, the oldest first, with ?appid= what one
// account has sent.
func (s *Server) controlMessages(w http.ResponseWriter, r *http.Request) {
	appID := r.URL.Query().Get("appid")
	s.controlLocked(w, func() (any, *controlRefusal) {
		list := []*sentMessage{}
		for _, m := range s.sent {
			if appID == "" || m.AppID == appID {
				list = append(list, m)
			}
		}
		return list, nil
	})
}
