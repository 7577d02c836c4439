package sandbox

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // it is what WeChat signs with
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	aesKeySize   = 32
	pkcs7Block   = 32
	pushInterval = 10 * time.Minute
	pushTimeout  = 5 * time.Second
	maxWaiting   = 100 // events that were not taken
)

// pushes are what was pushed to a platform.
type pushes struct {
	sent, taken int
	last        *pushResult
	lastTicket  string   // its XML
	waiting     []string // XML of events that were not taken
}

// pushResult is what the platform has made of a push.
type pushResult struct {
	InfoType string    `json:"info_type"`
	At       time.Time `json:"at"`
	Taken    bool      `json:"taken"`
	Status   int       `json:"status,omitempty"`
	Answer   string    `json:"answer,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// Run pushes tickets to the platforms that have a callback, at once and every
// ten minutes, until the context ends. Until one is taken for the first time it
// tries more often: the platform may start later than the sandbox.
func (s *Server) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	wait := time.Second
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.soon:
			s.pushTickets(ctx)
			continue
		case <-timer.C:
		}
		if s.pushTickets(ctx) {
			wait = pushInterval
		}
		timer.Reset(wait)
		wait = min(2*wait, pushInterval)
	}
}

// pushSoon has Run push.
func (s *Server) pushSoon(*component) {
	select {
	case s.soon <- struct{}{}:
	default:
	}
}

// pushTickets reports whether every platform has taken its ticket.
func (s *Server) pushTickets(ctx context.Context) bool {
	taken := true
	for _, id := range s.componentIDs {
		if co := s.components[id]; co.Callback != "" {
			taken = s.pushTicket(ctx, co, false).Taken && taken
		}
	}
	return taken
}

// pushTicket pushes a new ticket, or the last one again, behind the events that
// were not taken before.
func (s *Server) pushTicket(ctx context.Context, co *component, again bool) pushResult {
	s.mu.Lock()
	waiting := co.pushed.waiting
	co.pushed.waiting = nil
	text := co.pushed.lastTicket
	if !again || text == "" {
		now := time.Now()
		t := co.newTicket(now)
		text = co.event(now, "component_verify_ticket", "ComponentVerifyTicket", t.value)
		co.pushed.lastTicket = text
	}
	s.mu.Unlock()
	for _, event := range waiting {
		s.push(ctx, co, event)
	}
	return s.push(ctx, co, text)
}

// event is the XML of a push. Its members come in pairs, as name and value.
func (co *component) event(now time.Time, infoType string, members ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<xml><AppId><![CDATA[%s]]></AppId><CreateTime>%d</CreateTime><InfoType><![CDATA[%s]]></InfoType>",
		co.AppID, now.Unix(), infoType)
	for pair := range slices.Chunk(members, 2) {
		fmt.Fprintf(&b, "<%s><![CDATA[%s]]></%s>", pair[0], pair[1], pair[0])
	}
	b.WriteString("</xml>")
	return b.String()
}

func infoTypeOf(event string) string {
	_, rest, _ := strings.Cut(event, "<InfoType><![CDATA[")
	infoType, _, _ := strings.Cut(rest, "]]>")
	return infoType
}

// push sends an event. One that is not taken comes again with the next ticket.
// Nothing is locked meanwhile: whoever gets it may call the sandbox.
func (s *Server) push(ctx context.Context, co *component, event string) pushResult {
	result := pushResult{InfoType: infoTypeOf(event), At: time.Now().UTC()}
	var err error
	result.Status, result.Answer, err = s.deliver(ctx, co, event)
	if err != nil {
		result.Error = err.Error()
	}
	result.Taken = result.Status == http.StatusOK && strings.TrimSpace(result.Answer) == "success"

	s.mu.Lock()
	defer s.mu.Unlock()
	co.pushed.sent++
	co.pushed.last = &result
	if result.Taken {
		co.pushed.taken++
	} else if result.InfoType != "component_verify_ticket" && len(co.pushed.waiting) < maxWaiting {
		co.pushed.waiting = append(co.pushed.waiting, event)
	}
	return result
}

// newPusher returns a transport that follows no redirect and uses no proxy.
func newPusher() http.RoundTripper {
	return &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute}
}

var errNoCallback = errors.New("the component has no callback: write callback <url> in its block")

func (s *Server) deliver(ctx context.Context, co *component, event string) (status int, answer string, err error) {
	if co.Callback == "" {
		return 0, "", errNoCallback
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	query, body := co.envelope(event)
	target := co.Callback + "?" + query
	if strings.Contains(co.Callback, "?") {
		target = co.Callback + "&" + query
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "text/xml")
	req.Header.Set("User-Agent", "Mozilla/4.0")
	res, err := s.pusher.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	const maxAnswer = 1 << 10
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return res.StatusCode, string(text), err
}

// envelope encrypts and signs an event.
func (co *component) envelope(event string) (query, body string) {
	encrypted := co.encrypt(event)
	timestamp, nonce := strconv.FormatInt(time.Now().Unix(), 10), randomText(10)
	query = url.Values{
		"signature":     {pushSignature(co.PushToken, timestamp, nonce)},
		"timestamp":     {timestamp},
		"nonce":         {nonce},
		"encrypt_type":  {"aes"},
		"msg_signature": {pushSignature(co.PushToken, timestamp, nonce, encrypted)},
	}.Encode()
	body = "<xml>\n    <AppId><![CDATA[" + co.AppID + "]]></AppId>\n    <Encrypt><![CDATA[" + encrypted + "]]></Encrypt>\n</xml>\n"
	return query, body
}

func pushSignature(parts ...string) string {
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, ""))) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

// encrypt is AES-256-CBC over 16 random bytes, the length of the text, the text
// and the appid, padded to 32 bytes.
func (co *component) encrypt(text string) string {
	var plain bytes.Buffer
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails
	plain.Write(random)
	plain.Write(binary.BigEndian.AppendUint32(nil, uint32(len(text))))
	plain.WriteString(text)
	plain.WriteString(co.AppID)
	padding := pkcs7Block - plain.Len()%pkcs7Block
	plain.Write(bytes.Repeat([]byte{byte(padding)}, padding))

	block, err := aes.NewCipher(co.key)
	if err != nil {
		panic(err) // its length was checked
	}
	data := plain.Bytes()
	cipher.NewCBCEncrypter(block, co.key[:aes.BlockSize]).CryptBlocks(data, data)
	return base64.StdEncoding.EncodeToString(data)
}
