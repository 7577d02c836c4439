package wechat

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// byAppID returns tokens that name the account.
func byAppID(t ShownTokens) ShownTokens {
	return ShownTokens{AccessToken: "A-" + t.AppID, RefreshToken: "R-" + t.AppID}
}

// Only the values of tokens change.
func TestReplaceTokens(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"query_auth": {
			`{"authorization_info":{"authorizer_appid":"wx1","authorizer_access_token":"a1","expires_in":7200,"authorizer_refresh_token":"r1","func_info":[{"funcscope_category":{"id":1}}]}}`,
			`{"authorization_info":{"authorizer_appid":"wx1","authorizer_access_token":"A-wx1","expires_in":7200,"authorizer_refresh_token":"R-wx1","func_info":[{"funcscope_category":{"id":1}}]}}`,
		},
		"a list": {
			`{"total_count":2,"list":[{"authorizer_appid":"wx1","refresh_token":"r1","auth_time":1},{"refresh_token":"r2","authorizer_appid":"wx2"}]}`,
			`{"total_count":2,"list":[{"authorizer_appid":"wx1","refresh_token":"R-wx1","auth_time":1},{"refresh_token":"R-wx2","authorizer_appid":"wx2"}]}`,
		},
		"white space, numbers and escapes stay": {
			"\ufeff \r\n{ \"n\" : 1.50e2 , \"authorizer_appid\":\"w\\u00781\",\t\"authorizer_refresh_token\" : \"r\" , \"x\":\"\\u4f60\\/\"}\n ",
			"\ufeff \r\n{ \"n\" : 1.50e2 , \"authorizer_appid\":\"w\\u00781\",\t\"authorizer_refresh_token\" : \"R-wx1\" , \"x\":\"\\u4f60\\/\"}\n ",
		},
		"escapes in names": {
			`{"authorizer\u005fappid":"wx1","\u0061uthorizer_refresh_token":"r"}`,
			`{"authorizer\u005fappid":"wx1","\u0061uthorizer_refresh_token":"R-wx1"}`,
		},
		"names in another case": {
			`{"Authorizer_AppID":"wx1","REFRESH_TOKEN":"r"}`,
			`{"Authorizer_AppID":"wx1","REFRESH_TOKEN":"R-wx1"}`,
		},
		"the same name again": {
			`{"authorizer_appid":"wx1","refresh_token":"r1","refresh_token":"r2","authorizer_appid":"wx1"}`,
			`{"authorizer_appid":"wx1","refresh_token":"R-wx1","refresh_token":"R-wx1","authorizer_appid":"wx1"}`,
		},
		"deep": {
			`{"a":[[{"b":{"authorizer_appid":"wx1","c":{"authorizer_refresh_token":"r"}}}]]}`,
			`{"a":[[{"b":{"authorizer_appid":"wx1","c":{"authorizer_refresh_token":"R-wx1"}}}]]}`,
		},
		"the AppID comes later, and is the outer object's": {
			`{"c":{"authorizer_refresh_token":"r"},"authorizer_appid":"wx1"}`,
			`{"c":{"authorizer_refresh_token":"R-wx1"},"authorizer_appid":"wx1"}`,
		},
		"none yet":           {`{"authorizer_appid":"wx1","refresh_token":"","authorizer_refresh_token":null}`, ""},
		"an error":           {`{"errcode":61003,"errmsg":"component is not authorized by this account rid: 1"}`, ""},
		"nothing":            {`{}`, ""},
		"other names":        {`{"pre_auth_code":"p","my_refresh_token":"x","refresh_tokens":["x"]}`, ""},
		"a token in a value": {`{"list":["refresh_token"],"a":"refresh_token"}`, ""},
		"control characters": {"{\"nick_name\":\"a\x0bb\",\"authorizer_appid\":\"wx1\",\"refresh_token\":\"r\"}", "{\"nick_name\":\"a\x0bb\",\"authorizer_appid\":\"wx1\",\"refresh_token\":\"R-wx1\"}"},
		"no UTF-8":           {"{\"nick_name\":\"\xff\",\"authorizer_appid\":\"wx1\",\"refresh_token\":\"r\"}", "{\"nick_name\":\"\xff\",\"authorizer_appid\":\"wx1\",\"refresh_token\":\"R-wx1\"}"},
	} {
		if c.want == "" {
			c.want = c.answer
		}
		got, err := ReplaceTokens([]byte(c.answer), byAppID)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, c.want)
		}
	}
}

// What readers could understand in several ways is refused.
func TestUnclearTokens(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":                    "",
		"white space":                " \n",
		"no JSON":                    "<html>refreshtoken@@@x</html>",
		"a list":                     `[{"authorizer_appid":"wx1","refresh_token":"r"}]`,
		"text":                       `"refreshtoken@@@x"`,
		"truncated":                  `{"authorizer_appid":"wx1","refresh_token":"r`,
		"truncated after the token":  `{"authorizer_appid":"wx1","refresh_token":"r"`,
		"something after it":         `{"authorizer_appid":"wx1","refresh_token":"r"}{"refresh_token":"r"}`,
		"a comma too many":           `{"authorizer_appid":"wx1","refresh_token":"r",}`,
		"no commas":                  `{"authorizer_appid":"wx1" "refresh_token":"r"}`,
		"single quotes":              `{'authorizer_appid':'wx1','refresh_token':'r'}`,
		"a comment":                  `{"authorizer_appid":"wx1",/*"*/"refresh_token":"r"}`,
		"UTF-16":                     "{\x00\"\x00a\x00\"\x00",
		"no AppID":                   `{"refresh_token":"r"}`,
		"an AppID elsewhere":         `{"a":{"authorizer_appid":"wx1"},"refresh_token":"r"}`,
		"an AppID that is none":      `{"authorizer_appid":"wx/1","refresh_token":"r"}`,
		"two AppIDs":                 `{"authorizer_appid":"wx1","refresh_token":"r","authorizer_appid":"wx2"}`,
		"an AppID that is no text":   `{"authorizer_appid":["wx1"],"refresh_token":"r"}`,
		"a token that is an object":  `{"authorizer_appid":"wx1","refresh_token":{"value":"r"}}`,
		"a token that is a list":     `{"authorizer_appid":"wx1","authorizer_refresh_token":["r"]}`,
		"a token that is a number":   `{"authorizer_appid":"wx1","authorizer_refresh_token":1}`,
		"a token with a bad escape":  `{"authorizer_appid":"wx1","authorizer_refresh_token":"\x"}`,
		"a name with a bad escape":   `{"authorizer_appid":"wx1","\x":1,"authorizer_refresh_token":"r"}`,
		"deeper than any answer is":  `{"a":` + strings.Repeat("[", 100_000),
		"deep, and closed":           `{"a":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`,
		"a literal that there isn't": `{"a":nope}`,
	} {
		if got, err := ReplaceTokens([]byte(answer), byAppID); err == nil {
			t.Errorf("%s: %.100s", name, got)
		}
	}
}

// What is shown is told once for each object.
func TestShownTokens(t *testing.T) {
	var told []ShownTokens
	_, err := ReplaceTokens([]byte(`{"x":{"expires_in":"60","authorizer_access_token":"a","authorizer_refresh_token":"r","authorizer_appid":"wx1"},`+
		`"y":[{"authorizer_appid":"wx2","refresh_token":"s","expires_in":-1}]}`), func(s ShownTokens) ShownTokens {
		told = append(told, s)
		return s
	})
	want := []ShownTokens{{"wx1", "a", "r", time.Minute}, {"wx2", "", "s", 0}}
	if err != nil || !reflect.DeepEqual(told, want) {
		t.Errorf("told %#v, %v", told, err)
	}
}

// Whatever the answer is, no token remains in what encoding/json reads of it, and
// nothing else changes.
func FuzzReplaceTokens(f *testing.F) {
	for _, seed := range []string{
		`{"authorization_info":{"authorizer_appid":"wx1","authorizer_access_token":"a1","expires_in":7200,"authorizer_refresh_token":"r1"}}`,
		`{"list":[{"authorizer_appid":"wx1","refresh_token":"r1"},{"REFRESH\u005ftoken":"r2","authorizer_appid":"wx2"}],"n":1e3}`,
		"\ufeff{\"authorizer_appid\":\"wx1\",\"refresh_token\":\"r\\u0031\",\"refresh_token\":null}",
		`{"authorizer_appid":"wx1","x":{"refresh_token":"r"},"errcode":0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		got, err := ReplaceTokens(answer, byAppID)
		if err != nil {
			return
		}
		const mark = "\ufeff"
		var before, after any
		beforeErr := json.Unmarshal([]byte(strings.TrimPrefix(string(answer), mark)), &before)
		afterErr := json.Unmarshal([]byte(strings.TrimPrefix(string(got), mark)), &after)
		if (beforeErr == nil) != (afterErr == nil) {
			t.Fatalf("%q became %q: %v, %v", answer, got, beforeErr, afterErr)
		}
		if !reflect.DeepEqual(withoutTokens(t, before, false), withoutTokens(t, after, true)) {
			t.Fatalf("%q became %q", answer, got)
		}
		again, err := ReplaceTokens(got, byAppID)
		if err != nil || string(again) != string(got) {
			t.Fatalf("%q, replaced again: %q, %v", got, again, err)
		}
	})
}

// withoutTokens returns a value with its tokens blanked. Where they are replaced,
// each has to be one that byAppID returns.
func withoutTokens(t *testing.T, value any, replaced bool) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = withoutTokens(t, v[i], replaced)
		}
	case map[string]any:
		for name, inner := range v {
			if !strings.EqualFold(name, "refresh_token") && !strings.EqualFold(name, "authorizer_refresh_token") && !strings.EqualFold(name, "authorizer_access_token") {
				v[name] = withoutTokens(t, inner, replaced)
				continue
			}
			if text, ok := inner.(string); replaced && ok && text != "" && !strings.HasPrefix(text, "R-") && !strings.HasPrefix(text, "A-") {
				t.Fatalf("a token is left: %q", text)
			}
			v[name] = nil
		}
	}
	return value
}
