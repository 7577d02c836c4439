package push

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	testAppID  = "wxcomponent0000001"
	testToken  = "not-a-secret-token"
	testAESKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

func mustKey(t testing.TB, encoded string) Key {
	t.Helper()
	key, err := ParseKey(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func receiver(t testing.TB) *Receiver {
	t.Helper()
	return NewReceiver(testAppID, testToken, mustKey(t, testAESKey))
}

// signed returns the query of a push with this Encrypt field.
func signed(encrypted string) url.Values {
	return url.Values{
		"timestamp":     {"1700000000"},
		"nonce":         {"1320562132"},
		"encrypt_type":  {"aes"},
		"signature":     {"whatever"},
		"msg_signature": {Sign(testToken, "1700000000", "1320562132", encrypted)},
	}
}

func envelope(encrypted string) []byte {
	return []byte("<xml><AppId><![CDATA[" + testAppID + "]]></AppId><Encrypt><![CDATA[" + encrypted + "]]></Encrypt></xml>")
}

// pushOf returns a push of a message as WeChat makes it.
func pushOf(t testing.TB, message string) (url.Values, []byte) {
	t.Helper()
	encrypted := Encrypt(mustKey(t, testAESKey), testAppID, message)
	return signed(encrypted), envelope(encrypted)
}

func ticketEvent(ticket string) string {
	return `<xml><AppId><![CDATA[` + testAppID + `]]></AppId><CreateTime>1700000001</CreateTime>` +
		`<InfoType><![CDATA[component_verify_ticket]]></InfoType><ComponentVerifyTicket><![CDATA[` + ticket + `]]></ComponentVerifyTicket></xml>`
}

func authorizedEvent(infoType string) string {
	return `<xml><AppId>` + testAppID + `</AppId><CreateTime>1700000002</CreateTime><InfoType>` + infoType + `</InfoType>` +
		`<AuthorizerAppid>wxmerchant00000001</AuthorizerAppid><AuthorizationCode>queryauthcode@@@abc</AuthorizationCode>` +
		`<AuthorizationCodeExpiredTime>1700003600</AuthorizationCodeExpiredTime><PreAuthCode>preauthcode@@@abc</PreAuthCode></xml>`
}

// The sample of WeChat's own documentation: a message, as an account has it.
func TestPublishedSample(t *testing.T) {
	const encrypted = "hyzAe4OzmOMbd6TvGdIOO6uBmdJoD0Fk53REIHvxYtJlE2B655HuD0m8KUePWB3+LrPXo87wzQ1QLvbeUgmBM4x6F8PGHQHFVAFmOD2LdJF9FrXpbUAh0B5GIItb52sn896wVsMSHGuPE328HnRGBcrS7C41IzDWyWNlZkyyXwon8T332jisa+h6tEDYsVticbSnyU8dKOIbgU6ux5VTjg3yt+WGzjlpKn6NPhRjpA912xMezR4kw6KWwMrCVKSVCZciVGCgavjIQ6X8tCOp3yZbGpy0VxpAe+77TszTfRd5RJSVO/HTnifJpXgCSUdUue1v6h0EIBYYI1BD1DlD+C0CR8e6OewpusjZ4uBl9FyJvnhvQl+q5rv1ixrcpCumEPo5MJSgM9ehVsNPfUM669WuMyVWQLCzpu9GhglF2PE="
	r := NewReceiver("wx2c2769f8efd9abc2", "spamtest", mustKey(t, "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"))
	query := url.Values{
		"timestamp":     {"1409735669"},
		"nonce":         {"1320562132"},
		"msg_signature": {"5d197aaffba7e9b25a30732f161a50dee96bd5fa"},
	}
	body := []byte("<xml><ToUserName><![CDATA[gh_10f6c3c3ac5a]]></ToUserName><Encrypt><![CDATA[" + encrypted + "]]></Encrypt></xml>")
	event, err := r.Open(query, body)
	if err != nil {
		t.Fatal(err)
	}
	if event.InfoType != "" || event.CreateTime.Unix() != 1409735668 {
		t.Errorf("the event is %v of %v", event, event.CreateTime)
	}
}

func TestEvents(t *testing.T) {
	const ticket = "ticket@@@not-a-secret"
	for name, c := range map[string]struct {
		message string
		want    Event
	}{
		"ticket": {ticketEvent(ticket), Event{
			AppID: testAppID, CreateTime: time.Unix(1700000001, 0), InfoType: ComponentVerifyTicket, Ticket: ticket,
		}},
		"authorized": {authorizedEvent(Authorized), Event{
			AppID: testAppID, CreateTime: time.Unix(1700000002, 0), InfoType: Authorized, AuthorizerAppID: "wxmerchant00000001",
		}},
		"updateauthorized": {authorizedEvent(UpdateAuthorized), Event{
			AppID: testAppID, CreateTime: time.Unix(1700000002, 0), InfoType: UpdateAuthorized, AuthorizerAppID: "wxmerchant00000001",
		}},
		"unauthorized": {authorizedEvent(Unauthorized), Event{
			AppID: testAppID, CreateTime: time.Unix(1700000002, 0), InfoType: Unauthorized, AuthorizerAppID: "wxmerchant00000001",
		}},
		"a type that WeChat adds": {
			`<?xml version="1.0" encoding="UTF-8"?><!-- 新 --><xml><AppId>` + testAppID + `</AppId><InfoType>notify_third_fasteregister</InfoType>` +
				`<info><name>企业</name><AppId>wxnested</AppId></info><status>0</status></xml>`,
			Event{AppID: testAppID, InfoType: "notify_third_fasteregister"},
		},
		"an account's message":  {`<xml><ToUserName>gh_1</ToUserName><MsgType>text</MsgType></xml>`, Event{}},
		"spaces between fields": {" <xml>\n <AppId> " + testAppID + "\n</AppId>\n<InfoType>x</InfoType> </xml>\n", Event{AppID: testAppID, InfoType: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			query, body := pushOf(t, c.message)
			event, err := receiver(t).Open(query, body)
			if err != nil {
				t.Fatal(err)
			}
			if event != c.want {
				t.Errorf("the event is %v", event)
			}
		})
	}
}

func TestWrongSignature(t *testing.T) {
	for name, change := range map[string]func(query url.Values){
		"none":                     func(q url.Values) { q.Del("msg_signature") },
		"empty":                    func(q url.Values) { q.Set("msg_signature", "") },
		"of another token":         func(q url.Values) { q.Set("msg_signature", strings.Repeat("0", 40)) },
		"in upper case":            func(q url.Values) { q.Set("msg_signature", strings.ToUpper(q.Get("msg_signature"))) },
		"and more":                 func(q url.Values) { q.Set("msg_signature", q.Get("msg_signature")+"0") },
		"given twice":              func(q url.Values) { q.Add("msg_signature", q.Get("msg_signature")) },
		"without a timestamp":      func(q url.Values) { q.Del("timestamp") },
		"of another timestamp":     func(q url.Values) { q.Set("timestamp", "1700000001") },
		"with two nonces":          func(q url.Values) { q.Add("nonce", "2") },
		"that of the query's part": func(q url.Values) { q.Set("msg_signature", Sign(testToken, "1700000000", "1320562132", "")) },
	} {
		t.Run(name, func(t *testing.T) {
			query, body := pushOf(t, ticketEvent("ticket@@@x"))
			change(query)
			if _, err := receiver(t).Open(query, body); !errors.Is(err, ErrSignature) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestChangedCiphertext(t *testing.T) {
	query, body := pushOf(t, ticketEvent("ticket@@@x"))
	for _, changed := range []string{
		strings.Replace(string(body), "<![CDATA[", "<![CDATA[A", 2),
		"<xml><AppId>" + testAppID + "</AppId></xml>",
	} {
		if _, err := receiver(t).Open(query, []byte(changed)); !errors.Is(err, ErrSignature) {
			t.Errorf("error %v", err)
		}
	}
}

func TestOtherAppID(t *testing.T) {
	key := mustKey(t, testAESKey)
	message := ticketEvent("ticket@@@x")
	other := strings.Replace(message, testAppID, "wxanother", 1)
	outside := strings.Replace(string(envelope(Encrypt(key, testAppID, message))), testAppID, "wxanother", 1)
	for name, body := range map[string][]byte{
		"behind the message": envelope(Encrypt(key, "wxanother", message)),
		"none":               envelope(Encrypt(key, "", message)),
		"a longer one":       envelope(Encrypt(key, testAppID+"0", message)),
		"in the message":     envelope(Encrypt(key, testAppID, other)),
		"outside":            []byte(outside),
	} {
		t.Run(name, func(t *testing.T) {
			fields, err := parseFields(body)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := receiver(t).Open(signed(fields["Encrypt"]), body); !errors.Is(err, ErrAppID) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// What is signed and does not decrypt gets one error, whatever is wrong with it.
func TestCiphertextsThatDoNotDecrypt(t *testing.T) {
	key := mustKey(t, testAESKey)
	whole := Encrypt(key, testAppID, ticketEvent("ticket@@@x"))
	raw, _ := base64.StdEncoding.DecodeString(whole)
	encode := base64.StdEncoding.EncodeToString
	otherKey := mustKey(t, strings.Repeat("A", 43))
	cut := func(plain []byte) string { return encode(seal(key, plain)) }
	for name, encrypted := range map[string]string{
		"no base64":             "%%%%",
		"empty":                 "",
		"no whole block":        encode(raw[:len(raw)-1]),
		"a block too few":       encode(raw[:len(raw)-16]),
		"one block":             encode(raw[:16]),
		"another key":           Encrypt(otherKey, testAppID, "x"),
		"no padding":            cut(make([]byte, 32)),
		"padding too long":      cut(append(make([]byte, 31), repeat(33, 33)...)),
		"padding that differs":  cut(append(make([]byte, 30), 1, 2)),
		"padding and no more":   cut(repeat(32, 32)),
		"no length":             cut(append(make([]byte, 16), repeat(16, 16)...)),
		"length beyond the end": cut(append(append(make([]byte, 16), 0, 0, 0, 13), repeat(12, 12)...)),
		"length beyond all":     cut(append(append(make([]byte, 16), 255, 255, 255, 255), repeat(12, 12)...)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := receiver(t).Open(signed(encrypted), envelope(encrypted))
			if !errors.Is(err, ErrMalformed) || err.Error() != errDecrypt.Error() {
				t.Errorf("error %v", err)
			}
		})
	}
}

func repeat(b byte, n int) []byte { return []byte(strings.Repeat(string(rune(b)), n)) }

func TestMalformedXML(t *testing.T) {
	deep := strings.Repeat("<a>", 100_000)
	for name, text := range map[string]string{
		"empty":                 "",
		"no XML":                "success",
		"not ended":             "<xml><AppId>",
		"another root":          "<html></html>",
		"another namespace":     `<xml xmlns="urn:x"></xml>`,
		"two roots":             "<xml></xml><xml></xml>",
		"text behind it":        "<xml></xml>text",
		"text before it":        "text<xml></xml>",
		"a document type":       `<!DOCTYPE xml [<!ENTITY x "y">]><xml></xml>`,
		"an entity":             "<xml><AppId>&x;</AppId></xml>",
		"a field twice":         "<xml><AppId>a</AppId><AppId>b</AppId></xml>",
		"a field's namespace":   `<xml xmlns:a="urn:x"><a:AppId>x</a:AppId></xml>`,
		"another encoding":      `<?xml version="1.0" encoding="GBK"?><xml></xml>`,
		"no UTF-8":              "<xml><AppId>\xff</AppId></xml>",
		"nested without end":    "<xml>" + deep,
		"a time that is none":   "<xml><CreateTime>now</CreateTime></xml>",
		"a time before 1970":    "<xml><CreateTime>-1</CreateTime></xml>",
		"a time beyond all":     "<xml><CreateTime>99999999999999999999</CreateTime></xml>",
		"no appid":              "<xml><InfoType>authorized</InfoType><AuthorizerAppid>wx1</AuthorizerAppid></xml>",
		"no ticket":             strings.Replace(ticketEvent("x"), "[x]", "[]", 1),
		"no authorizer":         "<xml><AppId>" + testAppID + "</AppId><InfoType>unauthorized</InfoType></xml>",
		"an unknown, no appid":  "<xml><InfoType>new</InfoType></xml>",
		"an update, no account": "<xml><AppId>" + testAppID + "</AppId><InfoType>updateauthorized</InfoType></xml>",
	} {
		t.Run(name, func(t *testing.T) {
			query, body := pushOf(t, text)
			if _, err := receiver(t).Open(query, body); !errors.Is(err, ErrMalformed) {
				t.Errorf("in the message: error %v", err)
			}
		})
	}
	for name, body := range map[string]string{"no XML": "success", "empty": "", "too large": "<xml>" + strings.Repeat(" ", MaxBody) + "</xml>"} {
		t.Run("outside: "+name, func(t *testing.T) {
			if _, err := receiver(t).Open(signed(""), []byte(body)); !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// Messages of accounts may be in JSON, as the platform's console has it.
func TestJSON(t *testing.T) {
	const ticket = "ticket@@@not-a-secret"
	for name, c := range map[string]struct {
		message string
		want    Event
	}{
		"an account's message": {`{"ToUserName":"gh_1","CreateTime":1700000001,"MsgType":"event","List":[{"AppId":"x"}],"Is":true,"No":null}`, Event{
			CreateTime: time.Unix(1700000001, 0),
		}},
		"a ticket": {` {"AppId":"` + testAppID + `","CreateTime":"1700000001","InfoType":"component_verify_ticket","ComponentVerifyTicket":"` + ticket + `"} `, Event{
			AppID: testAppID, CreateTime: time.Unix(1700000001, 0), InfoType: ComponentVerifyTicket, Ticket: ticket,
		}},
		"in XML": {ticketEvent(ticket), Event{
			AppID: testAppID, CreateTime: time.Unix(1700000001, 0), InfoType: ComponentVerifyTicket, Ticket: ticket,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			encrypted := Encrypt(mustKey(t, testAESKey), testAppID, c.message)
			event, err := receiver(t).Open(signed(encrypted), []byte(`{"ToUserName":"gh_1","Encrypt":"`+strings.ReplaceAll(encrypted, "/", `\/`)+`"}`))
			if err != nil || event != c.want {
				t.Errorf("the event is %v, error %v", event, err)
			}
		})
	}
	for name, text := range map[string]string{
		"not ended":       `{"AppId":"x"`,
		"two objects":     "{}{}",
		"text behind it":  "{} x",
		"a comma":         `{"AppId":"x",}`,
		"a field twice":   `{"AppId":"a","AppId":"a"}`,
		"in another case": `{"AppId":"` + testAppID + `","appid":"b"}`,
		"no appid":        `{"InfoType":"new"}`,
		"a time":          `{"CreateTime":1.5}`,
		"deep":            `{"a":` + strings.Repeat("[", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			query, body := pushOf(t, text)
			if _, err := receiver(t).Open(query, body); !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v", err)
			}
		})
	}
	// Nothing is understood without a signature.
	if _, err := receiver(t).Open(signed("x"), []byte(`{"Encrypt":"y"}`)); !errors.Is(err, ErrSignature) {
		t.Errorf("error %v", err)
	}
	encrypted := Encrypt(mustKey(t, testAESKey), testAppID, "{}")
	if _, err := receiver(t).Open(signed(encrypted), []byte(`{"AppId":"wxother","Encrypt":"`+encrypted+`"}`)); !errors.Is(err, ErrAppID) {
		t.Errorf("error %v", err)
	}
}

// A ciphertext differs each time, and opens to what went in, whatever its length.
func TestEncryptOpens(t *testing.T) {
	key := mustKey(t, testAESKey)
	for n := range 100 {
		message := strings.Repeat("m", n)
		encrypted := Encrypt(key, testAppID, message)
		if encrypted == Encrypt(key, testAppID, message) {
			t.Fatal("two ciphertexts are equal")
		}
		opened, appID, err := decrypt(key, encrypted)
		if err != nil || string(opened) != message || appID != testAppID {
			t.Fatalf("%d bytes open to %q, %q, %v", n, opened, appID, err)
		}
	}
}

func TestParseKey(t *testing.T) {
	for name, encoded := range map[string]string{
		"empty":         "",
		"too short":     testAESKey[1:],
		"too long":      testAESKey + "h",
		"with padding":  testAESKey + "=",
		"no base64":     strings.Repeat("-", 43),
		"a line break":  testAESKey[:42] + "\n",
		"two of them":   testAESKey[:41] + "\r\n",
		"32 raw bytes":  strings.Repeat("k", 32),
		"no characters": strings.Repeat("\xff", 43),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKey(encoded)
			if err == nil {
				t.Fatal("no error")
			}
			if len(encoded) > 4 && strings.Contains(err.Error(), encoded) {
				t.Error("the error has the key")
			}
		})
	}
	// The console may show a key of which the last character has more bits than are used.
	if mustKey(t, testAESKey[:42]+"G") != mustKey(t, testAESKey[:42]+"H") {
		t.Error("the surplus bits matter")
	}
}

func TestNothingSecretIsPrinted(t *testing.T) {
	const ticket = "ticket@@@not-a-secret"
	key := mustKey(t, testAESKey)
	r := receiver(t)
	var printed strings.Builder
	for _, message := range []string{ticketEvent(ticket), authorizedEvent(Authorized)} {
		query, body := pushOf(t, message)
		event, err := r.Open(query, body)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []any{event, &event, key, &key, r} {
			fmt.Fprintf(&printed, "%v %+v %#v %s\n", v, v, v, v)
		}
	}
	for _, secret := range []string{ticket, testToken, testAESKey, "queryauthcode", "preauthcode", fmt.Sprint(key.bytes), string(key.bytes[:])} {
		if strings.Contains(printed.String(), secret) {
			t.Errorf("%q is printed: %s", secret, printed.String())
		}
	}
	if !strings.Contains(printed.String(), testAppID) || !strings.Contains(printed.String(), "wxmerchant00000001") {
		t.Errorf("what is no secret is not printed: %s", printed.String())
	}
}
