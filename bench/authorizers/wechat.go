package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	componentAppID = "wxc0000000000000c1"
	platformName   = "isv"
)

// componentSecret is what the store is sealed with.
var componentSecret = strings.Repeat("0123456789abcdef", 2)

// appID returns an authorizer's, in no order.
func appID(n int) string {
	x := uint64(n+1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return fmt.Sprintf("wx%016x", x^x>>31)
}

// refreshToken returns one of the length of WeChat's.
func refreshToken(appID string) string {
	return "refreshtoken@@@" + appID + "-0123456789abcdefghijklmno"
}

// accessToken likewise.
func accessToken(appID string) string {
	return "80_" + appID + strings.Repeat("-0123456789abcdef", 7)
}

// weChat answers a platform's calls, without a network.
type weChat struct {
	authorizers int
	fetched     atomic.Int64 // authorizers' tokens
}

// RoundTrip implements http.RoundTripper.
func (w *weChat) RoundTrip(req *http.Request) (*http.Response, error) {
	defer req.Body.Close()
	var body struct {
		AppID  string `json:"authorizer_appid"`
		Offset int    `json:"offset"`
		Count  int    `json:"count"`
	}
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		return nil, err
	}
	var answer any
	switch path := req.URL.Path; path[strings.LastIndex(path, "/")+1:] {
	case "api_component_token":
		answer = map[string]any{"component_access_token": accessToken(componentAppID), "expires_in": 7200}
	case "api_get_authorizer_list":
		answer = w.list(body.Offset, body.Count)
	case "api_get_authorizer_info":
		answer = map[string]any{"authorization_info": map[string]any{
			"authorizer_appid": body.AppID, "authorizer_refresh_token": refreshToken(body.AppID),
		}}
	case "api_authorizer_token":
		w.fetched.Add(1)
		answer = map[string]any{
			"authorizer_access_token": accessToken(body.AppID), "expires_in": 7200, "authorizer_refresh_token": refreshToken(body.AppID),
		}
	default:
		return nil, fmt.Errorf("nobody is to call %s", path)
	}
	data, err := json.Marshal(answer)
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(data)))}, err
}

// list returns a page of the list.
func (w *weChat) list(offset, count int) any {
	type listed struct {
		AppID        string `json:"authorizer_appid"`
		RefreshToken string `json:"refresh_token"`
		AuthTime     int64  `json:"auth_time"`
	}
	page := []listed{}
	for n := offset; n < min(offset+count, w.authorizers); n++ {
		page = append(page, listed{appID(n), refreshToken(appID(n)), time.Now().Add(-24 * time.Hour).Unix()})
	}
	return map[string]any{"total_count": w.authorizers, "list": page}
}
