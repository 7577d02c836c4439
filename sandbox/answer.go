package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Errcodes that the proxy has no use for.
const (
	invalidOpenID       = 40003
	invalidMediaType    = 40004
	invalidMediaID      = 40007
	invalidMessageType  = 40008
	invalidButtonCount  = 40016
	invalidButtonName   = 40018
	invalidRefreshToken = 40030
	invalidTemplateID   = 40037
	invalidActionInfo   = 40053
	invalidArgs         = 40097
	invalidScene        = 40129
	invalidWXACodePath  = 40159
	codeUsed            = 40163
	mediaMissing        = 41005
	codeMissing         = 41008
	refreshTokenExpired = 42002
	emptyPostData       = 44002
	emptyContent        = 44004
	contentTooLarge     = 45002
	menuMissing         = 46003
	clearanceExhausted  = 48006
	riskyContent        = 87014
)

var messages = map[int]string{
	wechat.SystemBusy:            "system error",
	wechat.InvalidCredential:     "invalid credential, access_token is invalid or not latest, could get access_token by getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r",
	wechat.InvalidGrantType:      "invalid grant_type",
	wechat.InvalidAppID:          "invalid appid",
	wechat.InvalidAccessToken:    "invalid access_token",
	wechat.InvalidCode:           "invalid code",
	wechat.InvalidAppSecret:      "invalid appsecret",
	wechat.InvalidIP:             "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist",
	wechat.SecretFrozen:          "appsecret is frozen",
	wechat.AccessTokenMissing:    "access_token missing",
	wechat.AppIDMissing:          "appid missing",
	wechat.AppSecretMissing:      "appsecret missing",
	wechat.AccessTokenExpired:    "access_token expired",
	wechat.QuotaExhausted:        "reach max api daily quota limit",
	wechat.TooFrequent:           "api minute-quota reach limit, must slower, retry next minute",
	wechat.APIUnauthorized:       "api unauthorized",
	wechat.UserLimited:           "user limited",
	wechat.TokenForbidden:        "forbid to get access_token",
	wechat.AccountFrozen:         "account is frozen",
	wechat.IPConfirmationPending: "ip is waiting for the administrator's confirmation",
	wechat.IPNeedsConfirmation:   "ip needs the administrator's confirmation",
	wechat.IPRefusedTwice:        "ip was refused twice by the administrator, retry in 24 hours",
	wechat.IPRefusedOnce:         "ip was refused by the administrator, retry in 1 hour",

	invalidOpenID:          "invalid openid",
	invalidMediaType:       "invalid media type",
	invalidMediaID:         "invalid media_id",
	invalidMessageType:     "invalid message type",
	invalidButtonCount:     "invalid button size",
	invalidButtonName:      "invalid button name size",
	invalidRefreshToken:    "invalid refresh_token",
	invalidTemplateID:      "invalid template_id",
	invalidActionInfo:      "invalid action info",
	invalidArgs:            "invalid args",
	invalidScene:           "invalid scene",
	invalidWXACodePath:     "invalid length for path, or the data is not json string",
	codeUsed:               "code been used",
	mediaMissing:           "media data missing",
	codeMissing:            "missing code",
	refreshTokenExpired:    "refresh_token expired",
	wechat.RequireGET:      "require GET method",
	wechat.RequirePOST:     "require POST method",
	emptyPostData:          "empty post data",
	emptyContent:           "empty content",
	wechat.MediaTooLarge:   "media size out of limit",
	contentTooLarge:        "content size out of limit",
	menuMissing:            "menu no exist",
	wechat.DataFormatError: "data format error",
	clearanceExhausted:     "forbid to clear quota because of reaching the limit",
	riskyContent:           "risky content",
}

func refuse(errcode int) error {
	return &wechat.Error{Code: errcode, Msg: messages[errcode]}
}

// status is the errcode of an answer. Answers that have one embed it.
type status struct {
	Errcode int    `json:"errcode"`
	Errmsg  string `json:"errmsg"`
}

var success = status{Errcode: wechat.OK, Errmsg: "ok"}

// blob is an answer that is no JSON.
type blob struct {
	contentType string
	filename    string // "" where it is no download
	data        []byte
}

func writeAnswer(w http.ResponseWriter, path string, result any, err error) {
	if err != nil {
		refused, ok := errors.AsType[*wechat.Error](err)
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		result = status{Errcode: refused.Code, Errmsg: refused.Msg + " rid: " + newRID()}
	}
	answer, ok := result.(blob)
	if !ok {
		answer = blob{contentType: jsonType(path), data: encode(result)}
	}
	header := w.Header()
	header.Set("Content-Type", answer.contentType)
	header.Set("Content-Length", strconv.Itoa(len(answer.data)))
	if answer.filename != "" {
		header.Set("Content-Disposition", `attachment; filename="`+answer.filename+`"`)
	}
	// A client that has gone is none of the sandbox's business.
	_, _ = w.Write(answer.data)
}

// jsonType is the content type that WeChat gives its JSON: it depends on the
// path, and is not always one of JSON.
func jsonType(path string) string {
	switch {
	case strings.HasPrefix(path, "/sns/"), strings.HasPrefix(path, "/cgi-bin/media/"):
		return "text/plain"
	case strings.HasPrefix(path, "/wxa/"):
		return "application/json; charset=UTF-8"
	}
	return "application/json; encoding=utf-8"
}

// encode writes JSON as WeChat does: without HTML's escapes and without a line
// feed at the end.
func encode(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err) // a type of this package that cannot be encoded
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// newRID returns a request ID of the form that ends WeChat's errmsgs.
func newRID() string {
	return fmt.Sprintf("%08x-%08x-%08x", uint32(time.Now().Unix()), rand.Uint32(), rand.Uint32())
}

// bodyKind is what a path reads, and with it the method it takes.
type bodyKind uint8

const (
	noBody    bodyKind = iota // GET
	jsonBody                  // POST
	mediaBody                 // POST
)

const maxJSON = 1 << 20

// read takes in the body as far as the route needs it.
func (c *call) read(kind bodyKind) error {
	if kind == noBody {
		if c.r.Method != http.MethodGet {
			return refuse(wechat.RequireGET)
		}
		return nil
	}
	if c.r.Method != http.MethodPost {
		return refuse(wechat.RequirePOST)
	}
	if kind == mediaBody {
		upload, err := readUpload(c.r.Header.Get("Content-Type"), c.body)
		c.upload = upload
		return err
	}
	body, err := io.ReadAll(io.LimitReader(c.body, maxJSON+1))
	if err != nil {
		return err
	}
	if len(body) > maxJSON {
		return refuse(contentTooLarge)
	}
	c.json = bytes.TrimSpace(body)
	return nil
}

// decode fills v from the body, whatever its content type: WeChat does not look
// at that either.
func (c *call) decode(v any) error {
	if len(c.json) == 0 {
		return refuse(emptyPostData)
	}
	if json.Unmarshal(c.json, v) != nil {
		return refuse(wechat.DataFormatError)
	}
	return nil
}

// isJSONObject tells an object, however broken, from a form.
func (c *call) isJSONObject() bool {
	return bytes.HasPrefix(c.json, []byte("{"))
}
