package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// outcome says in a line what came of a round trip: "error", or the status,
// the length that was announced, the body and how it ended.
func outcome(res *http.Response, err error) string {
	if err != nil {
		return "error"
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	end := "ok"
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		end = "cut"
	case err != nil:
		end = "bad"
	}
	body := strconv.Quote(string(b))
	if len(b) > 100 {
		body = fmt.Sprintf("%d bytes", len(b))
	}
	return fmt.Sprintf("%d %d %s %s", res.StatusCode, res.ContentLength, body, end)
}

type answerTest struct {
	name   string
	method string // GET if empty
	raw    string
	close  bool // whether the server closes the connection
	// What comes of it, and whether the next request takes the connection:
	// "kept" or "lost".
	want string
}

func chunked(s string) string {
	return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + s
}

func length(l, s string) string {
	return "HTTP/1.1 200 OK\r\nContent-Length: " + l + "\r\n\r\n" + s
}

var answerTests = []answerTest{
	// Lengths
	{name: "length", raw: length("5", "hello"), want: `200 5 "hello" ok kept`},
	{name: "length 0", raw: length("0", ""), want: `200 0 "" ok kept`},
	{name: "length and close", raw: length("5", "hello"), close: true, want: `200 5 "hello" ok lost`},
	{name: "length, Connection: close", raw: crlf("HTTP/1.1 200 OK", "Connection: close", "Content-Length: 5", "", "hello"), want: `200 5 "hello" ok lost`},
	{name: "length 0, Connection: close", raw: crlf("HTTP/1.1 200 OK", "Connection: close", "Content-Length: 0", "", ""), want: `200 0 "" ok lost`},
	{name: "Connection: X, Close", raw: crlf("HTTP/1.1 200 OK", "Connection: X, Close", "Content-Length: 5", "", "hello"), want: `200 5 "hello" ok lost`},
	{name: "Connection twice", raw: crlf("HTTP/1.1 200 OK", "Connection: X", "Connection: close", "Content-Length: 5", "", "hello"), want: `200 5 "hello" ok lost`},
	{name: "Connection: closed", raw: crlf("HTTP/1.1 200 OK", "Connection: closed", "Content-Length: 5", "", "hello"), want: `200 5 "hello" ok kept`},
	{name: "length with spaces", raw: "HTTP/1.1 200 OK\r\nContent-Length: \t 5 \t\r\n\r\nhello", want: `200 5 "hello" ok kept`},
	{name: "length with zeros", raw: length("0005", "hello"), want: `200 5 "hello" ok kept`},
	{name: "length twice", raw: crlf("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5", "", "hello"), want: `200 5 "hello" ok kept`},
	{name: "length in another case", raw: crlf("HTTP/1.1 200 OK", "cOnTeNt-lEnGtH: 5", "", "hello"), want: `200 5 "hello" ok kept`},
	{name: "two lengths", raw: crlf("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 6", "", "hello"), want: "error lost"},
	{name: "two lengths of one value", raw: crlf("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 05", "", "hello"), want: "error lost"},
	{name: "length 5, 5", raw: length("5, 5", "hello"), want: "error lost"},
	{name: "length 5,6", raw: length("5,6", "hello"), want: "error lost"},
	{name: "length +5", raw: length("+5", "hello"), want: "error lost"},
	{name: "length -5", raw: length("-5", "hello"), want: "error lost"},
	{name: "length -0", raw: length("-0", ""), want: "error lost"},
	{name: "length 0x5", raw: length("0x5", "hello"), want: "error lost"},
	{name: "length 5_0", raw: length("5_0", "hello"), want: "error lost"},
	{name: "length 5 5", raw: length("5 5", "hello"), want: "error lost"},
	{name: "length 5.0", raw: length("5.0", "hello"), want: "error lost"},
	{name: "length empty", raw: length("", "hello"), want: "error lost"},
	{name: "length five", raw: length("five", "hello"), want: "error lost"},
	{name: "length too large", raw: length("9223372036854775808", "hello"), want: "error lost"},
	{name: "length far too large", raw: length("18446744073709551621", "hello"), want: "error lost"},
	{name: "largest length", raw: length("9223372036854775807", "hello"), close: true, want: `200 9223372036854775807 "hello" cut lost`},
	{name: "cut", raw: length("6", "hello"), close: true, want: `200 6 "hello" cut lost`},
	{name: "cut at once", raw: length("6", ""), close: true, want: `200 6 "" cut lost`},
	{name: "binary", raw: length("9", "\x00\r\n\r\n\xff\x80\r\n"), want: `200 9 "\x00\r\n\r\n\xff\x80\r\n" ok kept`},
	{name: "large", raw: length("1000000", strings.Repeat("x", 1000000)), want: "200 1000000 1000000 bytes ok kept"},

	// Until the end
	{name: "until the end", raw: crlf("HTTP/1.1 200 OK", "", "hello"), close: true, want: `200 -1 "hello" ok lost`},
	{name: "until the end, nothing", raw: crlf("HTTP/1.1 200 OK", "", ""), close: true, want: `200 -1 "" ok lost`},
	{name: "until the end, Connection: close", raw: crlf("HTTP/1.1 200 OK", "Connection: close", "", "hello"), close: true, want: `200 -1 "hello" ok lost`},
	{name: "until the end, Connection: keep-alive", raw: crlf("HTTP/1.1 200 OK", "Connection: keep-alive", "", "hello"), close: true, want: `200 -1 "hello" ok lost`},
	{name: "1.0", raw: crlf("HTTP/1.0 200 OK", "", "hello"), close: true, want: `200 -1 "hello" ok lost`},
	{name: "1.0 with length", raw: crlf("HTTP/1.0 200 OK", "Content-Length: 5", "", "hello"), want: `200 5 "hello" ok lost`},
	{name: "1.0 with length, cut", raw: crlf("HTTP/1.0 200 OK", "Content-Length: 6", "", "hello"), close: true, want: `200 6 "hello" cut lost`},
	{name: "1.0 keep-alive", raw: crlf("HTTP/1.0 200 OK", "Connection: keep-alive", "Content-Length: 5", "", "hello"), want: `200 5 "hello" ok kept`},
	{name: "1.0 keep-alive without length", raw: crlf("HTTP/1.0 200 OK", "Connection: keep-alive", "", "hello"), close: true, want: `200 -1 "hello" ok lost`},
	{name: "1.0 chunked is not", raw: crlf("HTTP/1.0 200 OK", "Transfer-Encoding: chunked", "", "0\r\n\r\n"), close: true, want: `200 -1 "0\r\n\r\n" ok lost`},
	{name: "large until the end", raw: crlf("HTTP/1.1 200 OK", "", strings.Repeat("x", 1000000)), close: true, want: "200 -1 1000000 bytes ok lost"},

	// Chunked
	{name: "chunked", raw: chunked("5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"), want: `200 -1 "hello, world" ok kept`},
	{name: "chunked, nothing", raw: chunked("0\r\n\r\n"), want: `200 -1 "" ok kept`},
	{name: "chunked and close", raw: chunked("5\r\nhello\r\n0\r\n\r\n"), close: true, want: `200 -1 "hello" ok lost`},
	{name: "chunked, Connection: close", raw: crlf("HTTP/1.1 200 OK", "Connection: close", "Transfer-Encoding: chunked", "", "5\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "hello" ok lost`},
	{name: "Chunked", raw: crlf("HTTP/1.1 200 OK", "transfer-encoding: CHUNKED", "", "5\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "hello" ok kept`},
	{name: "chunk extensions", raw: chunked("5;a=b;c=\"d;e\"\r\nhello\r\n0;x\r\n\r\n"), want: `200 -1 "hello" ok kept`},
	{name: "space after chunk size", raw: chunked("5 \t\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "hello" ok kept`},
	{name: "space before chunk extension", raw: chunked("5 ;a\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "space before chunk size", raw: chunked(" 5\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "chunk size with zeros", raw: chunked("00005\r\nhello\r\n000\r\n\r\n"), want: `200 -1 "hello" ok kept`},
	{name: "chunk size in hex", raw: chunked("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), want: `200 -1 "01234567890123456789" ok kept`},
	{name: "chunk size empty", raw: chunked("\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "chunk size only extension", raw: chunked(";a\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "chunk size no hex", raw: chunked("g\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "chunk size 0x5", raw: chunked("0x5\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "chunk size +5", raw: chunked("+5\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "chunk size -5", raw: chunked("-5\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "chunk size overflows", raw: chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "chunk size negative as int64", raw: chunked("ffffffffffffffff\r\nhello"), close: true, want: `200 -1 "hello" cut lost`},
	{name: "chunk size far too long", raw: chunked(strings.Repeat("0", 10000) + "5\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "chunk longer than its size", raw: chunked("4\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "hell" bad lost`},
	{name: "chunk without line end", raw: chunked("5\r\nhello0\r\n\r\n"), want: `200 -1 "hello" bad lost`},
	{name: "LF after chunk", raw: chunked("5\r\nhello\n0\r\n\r\n"), want: `200 -1 "hello" bad lost`},
	{name: "LF after chunk size", raw: chunked("5\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "LF after the last chunk size", raw: chunked("5\r\nhello\r\n0\n\r\n"), want: `200 -1 "hello" bad lost`},
	{name: "CR in a chunk extension", raw: chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "" bad lost`},
	{name: "NUL in a chunk extension", raw: chunked("5;a\x00b\r\nhello\r\n0\r\n\r\n"), want: `200 -1 "hello" ok kept`},
	{name: "mostly chunk extensions", raw: chunked(strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 30) + "0\r\n\r\n"), want: `200 -1 "xxxxxxxxxxxxxxxx" bad lost`},
	{name: "cut in chunk", raw: chunked("6\r\nhello"), close: true, want: `200 -1 "hello" cut lost`},
	{name: "cut after chunk", raw: chunked("5\r\nhello"), close: true, want: `200 -1 "hello" cut lost`},
	{name: "cut in chunk size", raw: chunked("5"), close: true, want: `200 -1 "" cut lost`},
	{name: "cut after chunk size", raw: chunked("5\r\n"), close: true, want: `200 -1 "" cut lost`},
	{name: "cut before the last chunk", raw: chunked("5\r\nhello\r\n"), close: true, want: `200 -1 "hello" cut lost`},
	{name: "cut after the last chunk", raw: chunked("5\r\nhello\r\n0\r\n"), close: true, want: `200 -1 "hello" bad lost`},
	{name: "cut in the last line end", raw: chunked("5\r\nhello\r\n0\r\n\r"), close: true, want: `200 -1 "hello" bad lost`},
	{name: "cut in the trailer", raw: chunked("5\r\nhello\r\n0\r\nA: b\r\n"), close: true, want: `200 -1 "hello" bad lost`},
	{name: "trailer", raw: chunked("5\r\nhello\r\n0\r\nA: b\r\n\r\n"), want: `200 -1 "hello" ok kept`},
	{name: "trailer without colon", raw: chunked("5\r\nhello\r\n0\r\nA\r\n\r\n"), want: `200 -1 "hello" bad lost`},
	{name: "trailer name with space", raw: chunked("5\r\nhello\r\n0\r\nA : b\r\n\r\n"), want: `200 -1 "hello" ok kept`},
	{name: "trailer with a length", raw: chunked("5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"), want: `200 -1 "hello" ok kept`},
	{name: "trailer without end", raw: chunked("5\r\nhello\r\n0\r\n" + strings.Repeat("A: b\r\n", 100000)), want: `200 -1 "hello" bad lost`},
	{name: "large chunked", raw: chunked("f4240\r\n" + strings.Repeat("x", 1000000) + "\r\n0\r\n\r\n"), want: "200 -1 1000000 bytes ok kept"},
	{name: "many chunks", raw: chunked(strings.Repeat("1\r\nx\r\n", 20000) + "0\r\n\r\n"), want: "200 -1 20000 bytes ok kept"},

	// Transfer-Encoding
	{name: "chunked and length", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Content-Length: 5", "", "3\r\nabc\r\n0\r\n\r\n"), want: `200 -1 "abc" ok kept`},
	{name: "chunked and bad length", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Content-Length: five", "", "3\r\nabc\r\n0\r\n\r\n"), want: "error lost"},
	{name: "chunked and two lengths", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Content-Length: 5", "Content-Length: 6", "", "3\r\nabc\r\n0\r\n\r\n"), want: "error lost"},
	{name: "identity", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding: identity", "Content-Length: 5", "", "hello"), want: "error lost"},
	{name: "gzip, chunked", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked", "", "0\r\n\r\n"), want: "error lost"},
	{name: "chunked, chunked", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked, chunked", "", "0\r\n\r\n"), want: "error lost"},
	{name: "chunked twice", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", "", "0\r\n\r\n"), want: "error lost"},
	{name: "unknown encoding", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding: xchunked", "", "0\r\n\r\n"), want: "error lost"},
	{name: "empty encoding", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding:", "", "0\r\n\r\n"), want: "error lost"},
	{name: "chunked with VT", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding: \vchunked", "", "0\r\n\r\n"), want: "error lost"},

	// Without body
	{name: "204", raw: crlf("HTTP/1.1 204 No Content", "", ""), want: `204 0 "" ok kept`},
	{name: "204 with length", raw: crlf("HTTP/1.1 204 No Content", "Content-Length: 5", "", ""), want: `204 0 "" ok kept`},
	{name: "204 with body", raw: crlf("HTTP/1.1 204 No Content", "Content-Length: 5", "", "hello"), want: `204 0 "" ok lost`},
	{name: "304", raw: crlf("HTTP/1.1 304 Not Modified", "", ""), want: `304 0 "" ok kept`},
	{name: "304 with length", raw: crlf("HTTP/1.1 304 Not Modified", "Content-Length: 5", "", ""), want: `304 0 "" ok kept`},
	{name: "304 with bad length", raw: crlf("HTTP/1.1 304 Not Modified", "Content-Length: -5", "", ""), want: "error lost"},
	{name: "205", raw: crlf("HTTP/1.1 205 Reset", "Content-Length: 0", "", ""), want: `205 0 "" ok kept`},
	{name: "HEAD", method: "HEAD", raw: crlf("HTTP/1.1 200 OK", "", ""), want: `200 -1 "" ok kept`},
	{name: "HEAD with length", method: "HEAD", raw: crlf("HTTP/1.1 200 OK", "Content-Length: 5", "", ""), want: `200 5 "" ok kept`},
	{name: "HEAD with length 0", method: "HEAD", raw: crlf("HTTP/1.1 200 OK", "Content-Length: 0", "", ""), want: `200 0 "" ok kept`},
	{name: "HEAD chunked", method: "HEAD", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "", ""), want: `200 -1 "" ok kept`},
	{name: "HEAD with bad length", method: "HEAD", raw: crlf("HTTP/1.1 200 OK", "Content-Length: -5", "", ""), want: "error lost"},
	{name: "HEAD with body", method: "HEAD", raw: length("5", "hello"), want: `200 5 "" ok lost`},
	{name: "HEAD 1.0", method: "HEAD", raw: crlf("HTTP/1.0 200 OK", "Content-Length: 5", "", ""), want: `200 5 "" ok lost`},

	// More than the answer
	{name: "bytes after length", raw: length("5", "hello!"), want: `200 5 "hello" ok lost`},
	{name: "answer after length", raw: length("5", "hello") + length("3", "bad"), want: `200 5 "hello" ok lost`},
	{name: "line end after length", raw: length("5", "hello\r\n"), want: `200 5 "hello" ok lost`},
	{name: "answer after nothing", raw: length("0", "") + length("3", "bad"), want: `200 0 "" ok lost`},
	{name: "answer after chunked", raw: chunked("5\r\nhello\r\n0\r\n\r\n") + length("3", "bad"), want: `200 -1 "hello" ok lost`},
	{name: "answer after 204", raw: crlf("HTTP/1.1 204 No Content", "", "") + length("3", "bad"), want: `204 0 "" ok lost`},
	{name: "408 after the answer", raw: length("5", "hello") + "HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n", want: `200 5 "hello" ok lost`},

	// The status line
	{name: "no reason", raw: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", want: `200 0 "" ok kept`},
	{name: "empty reason", raw: "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", want: `200 0 "" ok kept`},
	{name: "two spaces", raw: "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", want: `200 0 "" ok kept`},
	{name: "reason of any bytes", raw: "HTTP/1.1 200 \x01\xff你\r\nContent-Length: 0\r\n\r\n", want: `200 0 "" ok kept`},
	{name: "no HTTP", raw: "hello\r\n\r\n", want: "error lost"},
	{name: "empty line first", raw: "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", want: "error lost"},
	{name: "TLS alert", raw: "\x15\x03\x01\x00\x02\x02\n", want: "error lost"},
	{name: "status 20", raw: "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", want: "error lost"},
	{name: "status 2000", raw: "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", want: "error lost"},
	{name: "status abc", raw: "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n", want: "error lost"},
	{name: "status -20", raw: "HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n", want: "error lost"},
	{name: "status +20", raw: "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n", want: `20 0 "" ok lost`},
	{name: "status 099", raw: "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", want: `99 0 "" ok lost`},
	{name: "status 000", raw: "HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n", want: `0 0 "" ok lost`},
	{name: "status 999", raw: "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", want: `999 0 "" ok kept`},
	{name: "no status", raw: "HTTP/1.1\r\n\r\n", want: "error lost"},
	{name: "tab before status", raw: "HTTP/1.1\t200 OK\r\n\r\n", want: "error lost"},
	{name: "version 1.2", raw: "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", want: `200 0 "" ok kept`},
	{name: "version 2.0", raw: "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", want: `200 0 "" ok kept`},
	{name: "version 0.9", raw: "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", want: `200 0 "" ok lost`},
	{name: "version 1", raw: "HTTP/1 200 OK\r\nContent-Length: 0\r\n\r\n", want: "error lost"},
	{name: "version 1.10", raw: "HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n", want: "error lost"},
	{name: "version http/1.1", raw: "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", want: "error lost"},

	// The header
	{name: "bare LF", raw: "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", want: `200 5 "hello" ok kept`},
	{name: "LF and CRLF", raw: "HTTP/1.1 200 OK\nContent-Length: 5\r\n\nhello", want: `200 5 "hello" ok kept`},
	{name: "bare CR in a value", raw: "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 5\r\n\r\nhello", want: "error lost"},
	{name: "NUL in a value", raw: "HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 5\r\n\r\nhello", want: "error lost"},
	{name: "control byte in a value", raw: "HTTP/1.1 200 OK\r\nA: b\x01c\r\nContent-Length: 5\r\n\r\nhello", want: "error lost"},
	{name: "DEL in a value", raw: "HTTP/1.1 200 OK\r\nA: b\x7fc\r\nContent-Length: 5\r\n\r\nhello", want: "error lost"},
	{name: "high bytes in a value", raw: "HTTP/1.1 200 OK\r\nA: \xff你\r\nContent-Length: 5\r\n\r\nhello", want: `200 5 "hello" ok kept`},
	{name: "NUL in a name", raw: "HTTP/1.1 200 OK\r\nA\x00: b\r\nContent-Length: 5\r\n\r\nhello", want: "error lost"},
	{name: "space in a name", raw: "HTTP/1.1 200 OK\r\nA B: c\r\nContent-Length: 5\r\n\r\nhello", want: `200 5 "hello" ok kept`},
	{name: "space before colon", raw: "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", close: true, want: `200 -1 "hello" ok lost`},
	{name: "space before chunked's colon", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\nhello", want: `200 5 "hello" ok kept`},
	{name: "tab before colon", raw: "HTTP/1.1 200 OK\r\nA\t: b\r\nContent-Length: 5\r\n\r\nhello", want: "error lost"},
	{name: "name not ASCII", raw: "HTTP/1.1 200 OK\r\nÄ: b\r\nContent-Length: 5\r\n\r\nhello", want: "error lost"},
	{name: "name empty", raw: "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 5\r\n\r\nhello", want: "error lost"},
	{name: "no colon", raw: "HTTP/1.1 200 OK\r\nA\r\nContent-Length: 5\r\n\r\nhello", want: "error lost"},
	{name: "folded", raw: "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\td\r\nContent-Length: 5\r\n\r\nhello", want: `200 5 "hello" ok kept`},
	{name: "folded length", raw: "HTTP/1.1 200 OK\r\nContent-Length:\r\n 5\r\n\r\nhello", want: `200 5 "hello" ok kept`},
	{name: "folded first line", raw: "HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 5\r\n\r\nhello", want: "error lost"},
	{name: "no header", raw: "HTTP/1.1 200 OK\r\n\r\nhello", close: true, want: `200 -1 "hello" ok lost`},
	{name: "long line", raw: "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 100000) + "\r\nContent-Length: 5\r\n\r\nhello", want: `200 5 "hello" ok kept`},
	{name: "many lines", raw: "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: x\r\n", 10000) + "Content-Length: 5\r\n\r\nhello", want: `200 5 "hello" ok kept`},
	{name: "cut in status line", raw: "HTTP/1.1 200 OK", close: true, want: "error lost"},
	{name: "cut after status line", raw: "HTTP/1.1 200 OK\r\n", close: true, want: "error lost"},
	{name: "cut in header", raw: "HTTP/1.1 200 OK\r\nContent-Le", close: true, want: "error lost"},
	{name: "cut after header line", raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", close: true, want: "error lost"},
	{name: "cut in last line end", raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r", close: true, want: "error lost"},
	{name: "nothing", raw: "", close: true, want: "error lost"},
	{name: "forbidden trailer", raw: crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Trailer: A, Content-Length", "", "0\r\n\r\n"), want: "error lost"},

	// 1xx
	{name: "100", raw: "HTTP/1.1 100 Continue\r\n\r\n" + length("5", "hello"), want: `200 5 "hello" ok kept`},
	{name: "102 and 103", raw: "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 103 Hints\r\nLink: b\r\n\r\n" + length("5", "hello"), want: `200 5 "hello" ok kept`},
	{name: "199", raw: "HTTP/1.1 199 X\r\n\r\n" + length("5", "hello"), want: `200 5 "hello" ok kept`},
	{name: "103 with length", raw: "HTTP/1.1 103 Hints\r\nContent-Length: 7\r\n\r\n" + length("5", "hello"), want: `200 5 "hello" ok kept`},
	{name: "103 with bad length", raw: "HTTP/1.1 103 Hints\r\nContent-Length: x\r\n\r\n" + length("5", "hello"), want: "error lost"},
	{name: "100 and Connection: close", raw: "HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n" + length("5", "hello"), want: `200 5 "hello" ok kept`},
	{name: "100 and end", raw: "HTTP/1.1 100 Continue\r\n\r\n", close: true, want: "error lost"},
	{name: "100 and bad answer", raw: "HTTP/1.1 100 Continue\r\n\r\nhello\r\n\r\n", want: "error lost"},
	{name: "endless 103", raw: strings.Repeat("HTTP/1.1 103 Hints\r\nLink: </style.css>\r\n\r\n", 5000), want: "error lost"},
	{name: "endless header", raw: "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 50000), want: "error lost"},
	{name: "endless line", raw: "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 300000), want: "error lost"},
	{name: "endless status line", raw: "HTTP/1.1 200 " + strings.Repeat("b", 300000), want: "error lost"},
	{name: "huge header", raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: " + strings.Repeat("b", 300000) + "\r\n\r\n", want: "error lost"},
}

// Answers of all kinds, what the caller sees of them, and whether the
// connection takes another request after them.
func TestResponse(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, test := range answerTests {
			t.Run(test.name, func(t *testing.T) {
				s := newServer(t, func(c *serverConn) {
					if c.n > 1 {
						numbered(c)
						return
					}
					c.read()
					c.say("%s", test.raw)
					if !test.close {
						numbered(c)
					}
				})
				c := tr.new(t, config{maxHeaderBytes: 150 << 10})
				req := newRequest(t, "GET", s.url, nil)
				if test.method != "" {
					req.Method = test.method
				}
				got := outcome(c.RoundTrip(req))
				kept := strings.HasSuffix(test.want, " kept")
				if test.close {
					eventually(t, "the server closes", func() bool { return s.open.Load() == 0 })
				}
				if test.close || !kept && tr.watches {
					// net/http sees only in time what is left on a connection:
					// a request that is quick could still get it as its answer.
					c.settle(t, 1)
				}
				switch c.do(t, newRequest(t, "GET", s.url, nil)) {
				case "1":
					got += " kept"
				case "2":
					got += " lost"
				}
				if got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
			})
		}
	})
}

// An answer may come in pieces of any size.
func TestResponseInPieces(t *testing.T) {
	tests := []struct{ raw, want string }{
		{"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" + length("5", "hello"), `200 5 "hello" ok`},
		{chunked("5\r\nhello\r\n7;x\r\n, world\r\n0\r\nA: b\r\n\r\n"), `200 -1 "hello, world" ok`},
	}
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, func(c *serverConn) {
			for i := 0; ; i++ {
				r, err := c.read()
				if err != nil {
					return
				}
				size, _ := strconv.Atoi(r.header("Size")[0])
				which, _ := strconv.Atoi(r.header("Which")[0])
				for piece := range slices.Chunk([]byte(tests[which].raw), size) {
					c.Write(piece)
					time.Sleep(100 * time.Microsecond) // so that pieces stay pieces, mostly
				}
			}
		})
		c := tr.new(t, config{})
		for which, test := range tests {
			for _, size := range []int{1, 2, 3, 7, 31} {
				req := newRequest(t, "GET", s.url, nil)
				req.Header.Set("Size", strconv.Itoa(size))
				req.Header.Set("Which", strconv.Itoa(which))
				if got := outcome(c.RoundTrip(req)); got != test.want {
					t.Errorf("pieces of %d: got %s, want %s", size, got, test.want)
				}
			}
		}
		if n := s.accepted(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// The fields of a response.
func TestResponseFields(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		get := func(t *testing.T, raw string) *http.Response {
			s := newServer(t, func(c *serverConn) { c.read(); c.say("%s", raw) })
			res := tr.new(t, config{}).send(t, newRequest(t, "GET", s.url, nil))
			io.ReadAll(res.Body)
			return res
		}
		check := func(t *testing.T, what string, got, want any) {
			t.Helper()
			if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
				t.Errorf("%s is %s, want %s", what, g, w)
			}
		}
		t.Run("length", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 404  Not  Found ", "content-type: a/b", "X:  1 ", "x: 2", "X:", "Content-Length: 5", "ETag: \"e\"", "", "hello"))
			check(t, "Status", res.Status, "404  Not  Found ")
			check(t, "StatusCode", res.StatusCode, 404)
			check(t, "Proto", res.Proto, "HTTP/1.1")
			check(t, "ProtoMajor", res.ProtoMajor, 1)
			check(t, "ProtoMinor", res.ProtoMinor, 1)
			check(t, "Header", res.Header, http.Header{"Content-Type": {"a/b"}, "X": {"1", "2", ""}, "Content-Length": {"5"}, "Etag": {`"e"`}})
			check(t, "TransferEncoding", res.TransferEncoding, []string(nil))
			check(t, "Close", res.Close, false)
			check(t, "Uncompressed", res.Uncompressed, false)
			check(t, "Trailer", res.Trailer, http.Header(nil))
			check(t, "TLS", res.TLS == nil, true)
		})
		t.Run("chunked", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Content-Length: 5", "X: 1", "", "0\r\n\r\n"))
			check(t, "Header", res.Header, http.Header{"X": {"1"}})
			check(t, "TransferEncoding", res.TransferEncoding, []string{"chunked"})
			check(t, "ContentLength", res.ContentLength, int64(-1))
		})
		t.Run("close", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 200 OK", "Connection: close", "Content-Length: 0", "", ""))
			check(t, "Close", res.Close, true)
			check(t, "Header", res.Header, http.Header{"Content-Length": {"0"}})
		})
		t.Run("close with others", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 200 OK", "Connection: X, close", "Connection: Y", "Content-Length: 0", "", ""))
			check(t, "Close", res.Close, true)
			check(t, "Header", res.Header, http.Header{"Content-Length": {"0"}})
		})
		t.Run("1.0", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.0 200 OK", "Connection: close", "Transfer-Encoding: chunked", "", "hello"))
			check(t, "Proto", res.Proto, "HTTP/1.0")
			check(t, "Close", res.Close, true)
			check(t, "Header", res.Header, http.Header{"Connection": {"close"}})
			check(t, "TransferEncoding", res.TransferEncoding, []string(nil))
		})
		t.Run("until the end", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 200 OK", "", "hello"))
			check(t, "Close", res.Close, true)
			check(t, "Header", res.Header, http.Header{})
		})
		t.Run("two equal lengths", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5", "", "hello"))
			check(t, "Header", res.Header, http.Header{"Content-Length": {"5"}})
		})
		t.Run("204 with length", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 204 No Content", "Content-Length: 5", "", ""))
			check(t, "Header", res.Header, http.Header{"Content-Length": {"5"}})
			check(t, "Body", res.Body == http.NoBody, true)
		})
		t.Run("folded", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 200 OK", "A: b", "  c ", "\td", "Content-Length: 0", "", ""))
			check(t, "Header", res.Header, http.Header{"A": {"b c d"}, "Content-Length": {"0"}})
		})
		t.Run("odd names", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 200 OK", "a b: 1", "x_y-z: 2", "Content-Length: 0", "", ""))
			check(t, "Header", res.Header, http.Header{"a b": {"1"}, "X_y-Z": {"2"}, "Content-Length": {"0"}})
		})
		t.Run("Pragma", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 200 OK", "Pragma: no-cache", "Content-Length: 0", "", ""))
			check(t, "Cache-Control", res.Header["Cache-Control"], []string{"no-cache"})
		})
		t.Run("values do not share memory", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 200 OK", "A: 1", "B: 2", "Content-Length: 0", "", ""))
			res.Header["A"] = append(res.Header["A"], "x")
			res.Header.Add("B", "3")
			check(t, "B", res.Header["B"], []string{"2", "3"})
		})
		t.Run("trailer without chunks", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 200 OK", "Trailer: A", "Content-Length: 0", "", ""))
			check(t, "Header", res.Header, http.Header{"Trailer": {"A"}, "Content-Length": {"0"}})
			check(t, "Trailer", res.Trailer, http.Header(nil))
		})
		t.Run("gzip stays", func(t *testing.T) {
			res := get(t, crlf("HTTP/1.1 200 OK", "Content-Encoding: gzip", "Content-Length: 5", "", "hello"))
			check(t, "Header", res.Header, http.Header{"Content-Encoding": {"gzip"}, "Content-Length": {"5"}})
			check(t, "ContentLength", res.ContentLength, int64(5))
		})
	})
}

// Trailers: announced ones are known before the body is read, and all of them
// have their values at its end.
func TestResponseTrailer(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, func(c *serverConn) {
			for {
				if _, err := c.read(); err != nil {
					return
				}
				c.say("%s", crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Trailer: sum, Other", "Trailer: Third", "", "5\r\nhello\r\n0\r\nSum: 1\r\nsum: 2\r\nExtra: x\r\n\r\n"))
			}
		})
		c := tr.new(t, config{})
		for range 2 {
			res := c.send(t, newRequest(t, "GET", s.url, nil))
			if got, want := fmt.Sprint(res.Trailer), "map[Other:[] Sum:[] Third:[]]"; got != want {
				t.Errorf("before the end: %s, want %s", got, want)
			}
			if _, ok := res.Header["Trailer"]; ok {
				t.Error("Trailer is in the header")
			}
			readAll(t, res)
			if got, want := fmt.Sprint(res.Trailer), "map[Extra:[x] Other:[] Sum:[1 2] Third:[]]"; got != want {
				t.Errorf("at the end: %s, want %s", got, want)
			}
		}
		if n := s.accepted(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// 1xx answers are given to the trace, with their header.
func TestResponseInformational(t *testing.T) {
	const raw = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\nLink: b\r\n\r\nHTTP/1.1 103 Hints\r\nLink: c\r\n\r\n"
	errStop := errors.New("enough")
	each(t, func(t *testing.T, tr transport) {
		send := func(t *testing.T, s *server, got1xx func(int, textproto.MIMEHeader) error) (*http.Response, error) {
			req := newRequest(t, "GET", s.url, nil)
			req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Got1xxResponse: got1xx}))
			return tr.new(t, config{maxHeaderBytes: 20000}).RoundTrip(req)
		}
		t.Run("all", func(t *testing.T) {
			s := newServer(t, func(c *serverConn) { c.read(); c.say(raw + okAnswer) })
			var got []string
			res, err := send(t, s, func(code int, h textproto.MIMEHeader) error {
				got = append(got, fmt.Sprint(code, h))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			readAll(t, res)
			if want := "[100 map[] 102 map[] 103 map[Link:[a b]] 103 map[Link:[c]]]"; fmt.Sprint(got) != want {
				t.Errorf("got %v, want %v", got, want)
			}
			if len(res.Header) != 1 {
				t.Errorf("the header is %v", res.Header)
			}
		})
		t.Run("stopped", func(t *testing.T) {
			s := newServer(t, func(c *serverConn) { c.read(); c.say(raw + okAnswer) })
			n := 0
			res, err := send(t, s, func(code int, _ textproto.MIMEHeader) error {
				if n++; code == 103 {
					return errStop
				}
				return nil
			})
			if err == nil {
				res.Body.Close()
			}
			if !errors.Is(err, errStop) || n != 3 {
				t.Errorf("got %v after %d", err, n)
			}
		})
		// The caller who sees them decides how many are too many.
		t.Run("many", func(t *testing.T) {
			s := newServer(t, func(c *serverConn) { c.read(); c.say(strings.Repeat(raw, 1000) + okAnswer) })
			n := 0
			res, err := send(t, s, func(int, textproto.MIMEHeader) error { n++; return nil })
			if err != nil {
				t.Fatal(err)
			}
			readAll(t, res)
			if n != 4000 {
				t.Errorf("got %d", n)
			}
		})
		t.Run("one too large", func(t *testing.T) {
			s := newServer(t, func(c *serverConn) {
				c.read()
				c.say("HTTP/1.1 103 Hints\r\nA: " + strings.Repeat("x", 50000) + "\r\n\r\n" + okAnswer)
			})
			if res, err := send(t, s, func(int, textproto.MIMEHeader) error { return nil }); err == nil {
				res.Body.Close()
				t.Error("no error")
			}
		})
	})
}

// 101 ends HTTP on the connection.
func TestResponseSwitchingProtocols(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, func(c *serverConn) {
			r, _ := c.read()
			if c.n > 1 {
				c.sayNumber(r)
				return
			}
			c.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			c.drain()
		})
		c := tr.new(t, config{})
		req := newRequest(t, "GET", s.url, nil)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "x")
		if tr.switches {
			res := c.send(t, req)
			if _, ok := res.Body.(io.Writer); res.StatusCode != 101 || !ok {
				t.Errorf("got %s", res.Status)
			}
			res.Body.Close()
		} else {
			c.refuse(t, req)
		}
		if got := c.do(t, newRequest(t, "GET", s.url, nil)); got != "2" {
			t.Errorf("on connection %s", got)
		}
	})
}

// How a response body is read and closed.
func TestResponseBody(t *testing.T) {
	raws := map[string]string{
		"length":        length("5", "hello"),
		"chunked":       chunked("5\r\nhello\r\n0\r\n\r\n"),
		"until the end": crlf("HTTP/1.1 200 OK", "", "hello"),
	}
	each(t, func(t *testing.T, tr transport) {
		for name, raw := range raws {
			t.Run(name, func(t *testing.T) {
				send := func(t *testing.T) *http.Response {
					s := newServer(t, func(c *serverConn) {
						c.read()
						c.say("%s", raw)
						if name != "until the end" {
							c.drain()
						}
					})
					return tr.new(t, config{}).send(t, newRequest(t, "GET", s.url, nil))
				}
				t.Run("EOF stays", func(t *testing.T) {
					res := send(t)
					if b, err := io.ReadAll(res.Body); err != nil || string(b) != "hello" {
						t.Fatalf("got %q, %v", b, err)
					}
					for range 3 {
						if n, err := res.Body.Read(make([]byte, 10)); n != 0 || err != io.EOF {
							t.Errorf("after the end: %d, %v", n, err)
						}
					}
					for range 2 {
						if err := res.Body.Close(); err != nil {
							t.Errorf("Close: %v", err)
						}
					}
					if n, err := res.Body.Read(make([]byte, 10)); n != 0 || err == nil || err == io.EOF {
						t.Errorf("after Close: %d, %v", n, err)
					}
				})
				t.Run("closed early", func(t *testing.T) {
					res := send(t)
					for range 2 {
						if err := res.Body.Close(); err != nil {
							t.Errorf("Close: %v", err)
						}
					}
					if n, err := res.Body.Read(make([]byte, 10)); n != 0 || err == nil || err == io.EOF {
						t.Errorf("after Close: %d, %v", n, err)
					}
				})
				t.Run("byte by byte", func(t *testing.T) {
					res := send(t)
					var got []byte
					for p := make([]byte, 1); ; {
						n, err := res.Body.Read(p)
						got = append(got, p[:n]...)
						if err == io.EOF {
							break
						}
						if err != nil {
							t.Fatal(err)
						}
					}
					if string(got) != "hello" {
						t.Errorf("got %q", got)
					}
				})
				t.Run("nothing asked for", func(t *testing.T) {
					res := send(t)
					if n, err := res.Body.Read(nil); n != 0 || err != nil {
						t.Errorf("got %d, %v", n, err)
					}
					if got := readAll(t, res); got != "hello" {
						t.Errorf("got %q", got)
					}
				})
			})
		}
	})
}

// What has arrived of a body is given to the caller, not held back until more
// comes.
func TestResponseBodyStreams(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		tests := []struct {
			raw  string
			size int // of the buffer
		}{
			{length("10", "hello"), 100},
			{chunked("5\r\nhello\r\n"), 100},
			{chunked("5\r\nhello"), 100},
			// With room for more, net/http's reader waits for the rest of a
			// chunk. Nobody has to do as well.
			{chunked("a\r\nhello"), 5},
			{crlf("HTTP/1.1 200 OK", "", "hello"), 100},
		}
		for _, test := range tests {
			s := newServer(t, func(c *serverConn) { c.read(); c.say("%s", test.raw); c.park() })
			req := newRequest(t, "GET", s.url, nil)
			res := tr.new(t, config{}).send(t, req)
			p := make([]byte, test.size)
			n, err := io.ReadAtLeast(res.Body, p, 5)
			if err != nil || string(p[:n]) != "hello" {
				t.Errorf("%q: got %q, %v", test.raw, p[:n], err)
			}
			if req.Context().Err() != nil {
				t.Errorf("%q: not before the end of the request", test.raw)
			}
			res.Body.Close()
		}
	})
}

// The answer is there once its header is.
func TestResponseBeforeBody(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, raw := range []string{length("10", ""), chunked(""), crlf("HTTP/1.1 200 OK", "", "")} {
			s := newServer(t, func(c *serverConn) { c.read(); c.say("%s", raw); c.park() })
			res := tr.new(t, config{}).send(t, newRequest(t, "GET", s.url, nil))
			res.Body.Close()
		}
	})
}

// Close ends a Read that waits.
func TestResponseBodyCloseWhileReading(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, raw := range []string{length("10", "hello"), chunked("a\r\nhello"), crlf("HTTP/1.1 200 OK", "", "hello")} {
			gone := make(chan struct{})
			s := newServer(t, func(c *serverConn) { c.read(); c.say("%s", raw); c.drain(); close(gone) })
			res := tr.new(t, config{}).send(t, newRequest(t, "GET", s.url, nil))
			p := make([]byte, 5)
			if _, err := io.ReadFull(res.Body, p); err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() {
				_, err := res.Body.Read(p)
				done <- err
			}()
			time.Sleep(10 * time.Millisecond) // likely to wait by now; either order is right
			res.Body.Close()
			if err := wait(t, "Read ends", done); err == nil {
				t.Error("Read has no error")
			}
			wait(t, "the connection ends", gone)
		}
	})
}

// The fields of a header are bounded by their number too, and exactly.
func TestResponseFieldsAreBounded(t *testing.T) {
	const most = 1000
	for _, tc := range []struct {
		name, raw string
		refused   bool
	}{
		{"as many as may be", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + strings.Repeat("A: b\r\n", most-1) + "\r\nhello", false},
		{"one more", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + strings.Repeat("A: b\r\n", most) + "\r\nhello", true},
		{"tiny", "HTTP/1.1 200 OK\n" + strings.Repeat("A:\n", 100*most) + "\n", true},
		{"lines of the body", "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + strings.Repeat("\n", 5000), false},
		{"behind a 1xx answer", "HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 5\n" + strings.Repeat("A:\n", most) + "\nhello", true},
		{"in a 1xx answer", "HTTP/1.1 103 Hints\r\n" + strings.Repeat("A:\r\n", most+1) + "\r\n" + okAnswer, true},
		{"many in all", strings.Repeat("HTTP/1.1 103 Hints\r\n"+strings.Repeat("A:\r\n", most/2)+"\r\n", 5) + okAnswer, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, func(c *serverConn) { c.read(); c.say(tc.raw) })
			tr := &Transport{MaxResponseFields: most}
			t.Cleanup(tr.CloseIdleConnections)
			res, err := tr.RoundTrip(newRequest(t, "GET", s.url, nil))
			if (err != nil) != tc.refused {
				t.Errorf("got %v", err)
			}
			if err == nil {
				readAll(t, res)
			}
		})
	}
}
