package push

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// The InfoTypes that the proxy acts on. WeChat has others, and adds to them.
const (
	ComponentVerifyTicket = "component_verify_ticket"
	Authorized            = "authorized"
	UpdateAuthorized      = "updateauthorized"
	Unauthorized          = "unauthorized"
)

// Event is what a push says. Its authorisation and pre-authorisation codes are
// left out: they are the application's to use.
type Event struct {
	// AppID is the platform's.
	AppID string

	// CreateTime is when WeChat says that it happened, or zero where it does not.
	CreateTime time.Time

	// InfoType is the kind of the event. It is empty where the push is a message
	// of an account's, which some platforms have at the same URL.
	InfoType string

	// Ticket is the component_verify_ticket of an event of that type.
	Ticket string `json:"-"`

	// AuthorizerAppID is the account that has authorised the platform, has
	// changed what it allows, or has withdrawn.
	AuthorizerAppID string
}

// String tells the event without its ticket.
func (e Event) String() string {
	return fmt.Sprintf("push.Event{%s %s %s}", e.InfoType, e.AppID, e.AuthorizerAppID)
}

// GoString tells the event without its ticket.
func (e Event) GoString() string { return e.String() }

func parseEvent(message []byte) (Event, error) {
	fields, err := parseFields(message)
	if err != nil {
		return Event{}, err
	}
	e := Event{
		AppID:           fields["AppId"],
		InfoType:        fields["InfoType"],
		Ticket:          fields["ComponentVerifyTicket"],
		AuthorizerAppID: fields["AuthorizerAppid"],
	}
	if text, ok := fields["CreateTime"]; ok {
		seconds, err := strconv.ParseUint(text, 10, 40)
		if err != nil {
			return Event{}, fmt.Errorf("%w: its CreateTime is no time", ErrMalformed)
		}
		e.CreateTime = time.Unix(int64(seconds), 0)
	}
	return e, e.check()
}

// check reports what an event lacks that its type must have.
func (e Event) check() error {
	missing := ""
	switch e.InfoType {
	case "":
		return nil
	case ComponentVerifyTicket:
		if e.Ticket == "" {
			missing = "ComponentVerifyTicket"
		}
	case Authorized, UpdateAuthorized, Unauthorized:
		if e.AuthorizerAppID == "" {
			missing = "AuthorizerAppid"
		}
	}
	if e.AppID == "" {
		missing = "AppId"
	}
	if missing != "" {
		return fmt.Errorf("%w: %s has no %s", ErrMalformed, strconv.Quote(e.InfoType), missing)
	}
	return nil
}

// maxDepth is more than any event nests.
const maxDepth = 16

// parseFields returns the fields of what was pushed. WeChat has its events in XML;
// messages of accounts may be in JSON.
func parseFields(data []byte) (map[string]string, error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return parseJSON(data)
	}
	return parseXML(data)
}

// parseXML returns the text of the elements in the root, which is <xml>. What
// they have inside is passed over. What two readers could understand
// differently is refused: a field that stands twice, a document type, and
// anything before or after the root.
func parseXML(data []byte) (map[string]string, error) {
	p := fieldParser{decoder: xml.NewDecoder(bytes.NewReader(data)), fields: make(map[string]string)}
	for {
		token, err := p.decoder.Token()
		if errors.Is(err, io.EOF) && p.ended {
			return p.fields, nil
		}
		if err != nil || !p.take(token) {
			// The decoder's own error may repeat what it has read.
			return nil, fmt.Errorf("%w: it is no XML of the kind that WeChat pushes", ErrMalformed)
		}
	}
}

type fieldParser struct {
	decoder *xml.Decoder
	fields  map[string]string
	depth   int
	ended   bool // the root is closed
	name    string
	text    strings.Builder
}

// take reports whether the document may go on with a token.
func (p *fieldParser) take(token xml.Token) bool {
	switch t := token.(type) {
	case xml.StartElement:
		p.depth++
		return p.start(t)
	case xml.EndElement:
		p.end()
		p.depth--
		p.ended = p.ended || p.depth == 0
		return true
	case xml.CharData:
		if p.depth == 0 {
			return len(bytes.TrimSpace(t)) == 0
		}
		if p.depth == 2 {
			p.text.Write(t)
		}
		return true
	case xml.Directive:
		return false
	}
	return true // comments, and the declaration at the beginning
}

func (p *fieldParser) start(t xml.StartElement) bool {
	switch p.depth {
	case 1:
		return !p.ended && t.Name == xml.Name{Local: "xml"}
	case 2:
		p.name = t.Name.Local
		p.text.Reset()
		_, twice := p.fields[p.name]
		return !twice && t.Name.Space == ""
	}
	return p.depth <= maxDepth
}

func (p *fieldParser) end() {
	if p.depth == 2 {
		p.fields[p.name] = strings.TrimSpace(p.text.String())
	}
}
