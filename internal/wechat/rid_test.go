package wechat

import "testing"

func TestRID(t *testing.T) {
	for answer, want := range map[string][2]string{
		`{"errcode":40013,"errmsg":"invalid appid rid: 6aac0063-7ed08fb9-1250f727"}`: {"invalid appid rid: 6aac0063-7ed08fb9-1250f727", "6aac0063-7ed08fb9-1250f727"},
		`{"errmsg" : "x rid: 6aac-1, more", "errcode":1}`:                            {"x rid: 6aac-1, more", "6aac-1"},
		`{"errcode":1,"errmsg":"rid: 12"}`:                                           {"rid: 12", "12"},
		`{"errcode":1,"errmsg":"a \"b\" rid: 1\u00e9"}`:                              {`a \"b\" rid: 1\u00e9`, "1"},
		`{"errcode":1,"errmsg":"x rid: 6aa`:                                          {"x rid: 6aa", "6aa"},
		`{"errcode":1,"errmsg":"grid: 12"}`:                                          {"grid: 12", ""},
		`{"errcode":1,"errmsg":"x rid: "}`:                                           {"x rid: ", ""},
		`{"errcode":1,"errmsg":5}`:                                                   {},
		`{"errcode":1,"errmsg"`:                                                      {},
		`{"content":"rid: 12"}`:                                                      {},
		"":                                                                           {},
	} {
		errmsg := ErrmsgOf([]byte(answer))
		if errmsg != want[0] || RIDOf(errmsg) != want[1] {
			t.Errorf("%s: errmsg %q, rid %q", answer, errmsg, RIDOf(errmsg))
		}
	}
}

func TestErrcodeLabel(t *testing.T) {
	for errcode, want := range map[int]string{40001: "40001", -1: "-1", -1000: "-1000", 40164: "40164", 61004: "61004", 123456789: "other", -7: "other"} {
		if got := ErrcodeLabel(errcode); got != want {
			t.Errorf("%d: %s, want %s", errcode, got, want)
		}
	}
	for _, kind := range Kinds {
		for errcode := range kind.Advice {
			if ErrcodeLabel(errcode) == OtherErrcode {
				t.Errorf("there is advice for %d, and it is not known", errcode)
			}
		}
	}
}
