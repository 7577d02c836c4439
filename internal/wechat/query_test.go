package wechat

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestSetQueryParam(t *testing.T) {
	for _, tc := range []struct{ name, query, want string }{
		{"no query", "", "access_token=NEW"},
		{"appended", "a=1&b=2", "a=1&b=2&access_token=NEW"},
		{"alone", "access_token=old", "access_token=NEW"},
		{"first", "access_token=old&a=1", "access_token=NEW&a=1"},
		{"middle", "a=1&access_token=old&b=2", "a=1&access_token=NEW&b=2"},
		{"last", "a=1&access_token=old", "a=1&access_token=NEW"},
		{"everywhere", "access_token=x&a=1&access_token=y&access_token=z", "access_token=NEW&a=1&access_token=NEW&access_token=NEW"},
		{"without a value", "access_token&a=1", "access_token=NEW&a=1"},
		{"empty value", "a=1&access_token=", "a=1&access_token=NEW"},
		{"equals signs in the value", "access_token=a=b=c", "access_token=NEW"},
		{"semicolon in the value", "access_token=a;b&c=1", "access_token=NEW&c=1"},
		{"one letter escaped", "%61ccess_token=old", "access_token=NEW"},
		{"escaped in capitals and not", "access%5Ftoken=old&access%5ftoken=old", "access_token=NEW&access_token=NEW"},
		{"all escaped", "%61%63%63%65%73%73%5f%74%6f%6b%65%6e=old", "access_token=NEW"},
		{"escaped before plain", "%61ccess_token=x&access_token=y", "access_token=NEW&access_token=NEW"},
		{"other names stay", "xaccess_token=1&access_token2=2&Access_Token=3&access_token%00=4", "xaccess_token=1&access_token2=2&Access_Token=3&access_token%00=4&access_token=NEW"},
		{"an escaped equals sign belongs to the name", "access_token%3Dx=1", "access_token%3Dx=1&access_token=NEW"},
		{"a value is no name", "a=access_token&b=access_token=1", "a=access_token&b=access_token=1&access_token=NEW"},
		{"spelling and order of the others", "b=%e4%BD%a0&a=+%20&&=x&b=%zz&access_token=o&;c", "b=%e4%BD%a0&a=+%20&&=x&b=%zz&access_token=NEW&;c"},
		{"separators alone", "&&", "&&&access_token=NEW"},
		{"separators around", "&access_token=o&", "&access_token=NEW&"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := SetQueryParam(tc.query, "access_token", "NEW"); got != tc.want {
				t.Errorf("SetQueryParam(%q) = %q, want %q", tc.query, got, tc.want)
			}
		})
	}
}

func TestQueryParam(t *testing.T) {
	for _, tc := range []struct {
		query, want string
		found       bool
	}{
		{"", "", false},
		{"a=1", "", false},
		{"xappid=1&appid2=2&APPID=3", "", false},
		{"appid=wx1", "wx1", true},
		{"a=1&appid=wx1&appid=wx2", "wx1", true},
		{"%61ppi%64=wx1&appid=wx2", "wx1", true},
		{"appid=w%78%2b+1", "wx+ 1", true},
		{"appid", "", true},
		{"appid=", "", true},
		{"appid=a=b", "a=b", true},
		{"appid=%zz", "%zz", true},
		{"appid%zz=1", "", false},
	} {
		if got, found := QueryParam(tc.query, "appid"); got != tc.want || found != tc.found {
			t.Errorf("QueryParam(%q) = %q, %t; want %q, %t", tc.query, got, found, tc.want, tc.found)
		}
	}
}

func TestQueryParams(t *testing.T) {
	const query = "appid=a&x=1&%61ppid=%62+c&appid&appid=%zz&xappid=2"
	if got, want := slices.Collect(QueryParams(query, "appid")), []string{"a", "b c", "", "%zz"}; !slices.Equal(got, want) {
		t.Errorf("QueryParams(%q) = %q, want %q", query, got, want)
	}
	for value := range QueryParams(query, "appid") {
		if value != "a" {
			t.Errorf("goes on after the caller has enough: %q", value)
		}
		break
	}
	if got := slices.Collect(QueryParams("", "appid")); got != nil {
		t.Errorf("QueryParams of no query: %q", got)
	}
}

// A client's token that stays in a query would reach WeChat beside, or instead
// of, the account's.
func FuzzSetQueryParam(f *testing.F) {
	f.Add("", "T")
	f.Add("a=1&access_token=x&b=%20", "T-_")
	f.Add("%61ccess_token=x&access_token", "a+b/c=")
	f.Add("access%5ftoken&&=&;&access_token%", "&")
	f.Add("access_token=x;y&access_token%3D=1", "%")
	f.Fuzz(func(t *testing.T, query, value string) {
		if strings.Count(query, "&") > 1_000 {
			t.Skip("more than url.ParseQuery takes")
		}
		const name = "access_token"
		got := SetQueryParam(query, name, url.QueryEscape(value))

		var want []string
		replaced := 0
		for pair := range strings.SplitSeq(query, "&") {
			if spelled, _, _ := strings.Cut(pair, "="); isSpelling(spelled, name) {
				pair = name + "=" + url.QueryEscape(value)
				replaced++
			}
			want = append(want, pair)
		}
		if replaced == 0 {
			if query == "" {
				want = nil
			}
			want = append(want, name+"="+url.QueryEscape(value))
			replaced = 1
		}
		if joined := strings.Join(want, "&"); got != joined {
			t.Fatalf("SetQueryParam(%q) = %q, want %q", query, got, joined)
		}

		// The error is about the client's other parameters.
		values, _ := url.ParseQuery(got)
		if !slices.Equal(values[name], slices.Repeat([]string{value}, replaced)) {
			t.Fatalf("SetQueryParam(%q) = %q has %s %q, want %d times %q", query, got, name, values[name], replaced, value)
		}
		if again := SetQueryParam(got, name, url.QueryEscape(value)); again != got {
			t.Fatalf("set again: %q, was %q", again, got)
		}
		if read, found := QueryParam(got, name); read != value || !found {
			t.Fatalf("QueryParam(%q) = %q, %t; want %q", got, read, found, value)
		}
	})
}

func isSpelling(spelled, name string) bool {
	unescaped, err := url.QueryUnescape(spelled)
	return err == nil && unescaped == name
}

// Whatever is asked for, the answer is the one that a Go server would give.
func FuzzQueryParam(f *testing.F) {
	f.Add("a=1&appid=wx1&appid=wx2")
	f.Add("%61ppid=w%78&b")
	f.Add("appid=%zz&appid=1")
	f.Fuzz(func(t *testing.T, query string) {
		got, found := QueryParam(query, "appid")
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		if found != values.Has("appid") || got != values.Get("appid") {
			t.Fatalf("QueryParam(%q) = %q, %t; url.ParseQuery says %q", query, got, found, values["appid"])
		}
		if all := slices.Collect(QueryParams(query, "appid")); !slices.Equal(all, values["appid"]) {
			t.Fatalf("QueryParams(%q) = %q; url.ParseQuery says %q", query, all, values["appid"])
		}
	})
}

func BenchmarkSetQueryParam(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		SetQueryParam("type=image&access_token=abcdefghijklmnop&lang=zh_CN", "access_token", "ABCDEFGHIJKLMNOP")
	}
}
