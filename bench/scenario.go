package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"net/http"
)

// scenario is one kind of request.
type scenario struct {
	name, title string
	bytes       int64 // that pass per request, where throughput is measured in these
	connections int   // at most; 0 is what was asked for
	call        func(token string) call
	check       func(token string) call // a stricter one, for the check before measuring
}

// bodyConnections is for large bodies. With more, a request takes longer than
// a slice.
const bodyConnections = 8

var scenarios = []scenario{
	{name: "get", title: "GET, 300 bytes", call: getCall, check: getCall},
	{name: "post", title: "POST, small JSON", call: postCall, check: postCall},
	{
		name: "download", title: "Download, 1 MiB", bytes: downloadSize, connections: bodyConnections,
		call: func(token string) call { return downloadCall(token, nil) }, check: func(token string) call { return downloadCall(token, download) },
	},
	{
		name: "upload", title: "Upload, 8 MiB", bytes: uploadSize, connections: bodyConnections,
		call: uploadCall, check: checkedUploadCall,
	},
}

// withToken adds a token to a query. Clients of proxies send none.
func withToken(query, token string) string {
	if token == "" {
		return query
	}
	return query + "&access_token=" + token
}

func getCall(token string) call {
	c := newCall(http.MethodGet, getPath, withToken("next_openid=oBench", token), nil, "")
	c.body, c.length = userList, int64(len(userList))
	return c
}

var message = []byte(`{"touser":"oBench0000000000000000000001","template_id":"bench","url":"https://example.com/orders/1",` +
	`"data":{"first":{"value":"Your order is on its way"},"keyword1":{"value":"2023-11-14 22:13"},"remark":{"value":"Thank you"}}}`)

func postCall(token string) call {
	c := newCall(http.MethodPost, postPath, withToken("lang=en", token), message, "application/json")
	c.body = echo(message)
	c.length = int64(len(c.body))
	return c
}

func downloadCall(token string, want []byte) call {
	c := newCall(http.MethodGet, downloadPath, withToken("media_id=bench", token), nil, "")
	c.body, c.length = want, downloadSize
	return c
}

// upload is a form with a file, of just the size that is said.
var upload = func() []byte {
	const head = "--bench\r\nContent-Disposition: form-data; name=\"media\"; filename=\"bench.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"
	const foot = "\r\n--bench--\r\n"
	b := append(make([]byte, 0, uploadSize), head...)
	for i := 0; len(b) < uploadSize-len(foot); i++ {
		b = append(b, byte(i*i>>8))
	}
	return append(b, foot...)
}()

func uploadCall(token string) call {
	return newUploadCall(withToken("type=image", token), uploaded(uploadSize))
}

func checkedUploadCall(token string) call {
	return newUploadCall(withToken("type=image&"+checksumQuery, token), checked(uploadSize, crc32.Checksum(upload, crcTable)))
}

func newUploadCall(query string, want []byte) call {
	c := newCall(http.MethodPost, uploadPath, query, upload, "multipart/form-data; boundary=bench")
	c.body, c.length = want, int64(len(want))
	return c
}

// answering returns the call with another answer.
func (c call) answering(body []byte) call {
	c.body, c.length = bytes.Clone(body), int64(len(body))
	return c
}

// rate writes how much was done in a second.
func (s *scenario) rate(requestsPerSecond float64) string {
	if s.bytes == 0 {
		return fmt.Sprintf("%.0f", requestsPerSecond)
	}
	return fmt.Sprintf("%.0f", requestsPerSecond*float64(s.bytes)/1e6)
}
