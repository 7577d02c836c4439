package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// bodyRequest returns a request whose body is read from source. A negative
// length is one that the client has not told.
func bodyRequest(source io.Reader, length int) *http.Request {
	return &http.Request{Method: http.MethodPost, Body: io.NopCloser(source), ContentLength: int64(length)}
}

// mustBody returns a body of at most a mebibyte, which the test releases. It was
// not read if its length is known, as if it were a large one.
func mustBody(t *testing.T, source io.Reader, length int, memory int64) *replayBody {
	t.Helper()
	if length >= 0 {
		return keepBody(source, int64(length), memory)
	}
	b, _, err := newReplayBody(bodyRequest(source, length), memory, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bodyText returns n bytes in which every position can be told from the others
// nearby.
func bodyText(n int) string {
	var s strings.Builder
	for s.Len() < n {
		fmt.Fprintf(&s, "%d,", s.Len())
	}
	return s.String()[:n]
}

func wantBody(t *testing.T, r io.Reader, want string) {
	t.Helper()
	if got, err := io.ReadAll(r); err != nil || string(got) != want {
		t.Errorf("got %d bytes (%.40q), %v; want %d (%.40q)", len(got), got, err, len(want), want)
	}
}

// setTempDir makes temporary files be created in dir, on every system.
func setTempDir(t *testing.T, dir string) {
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, dir)
	}
	spool.clear() // its files are elsewhere
}

func wantEmptyDir(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestBodyOfNothing(t *testing.T) {
	for name, req := range map[string]*http.Request{
		"nil":      {Method: http.MethodGet},
		"NoBody":   {Method: http.MethodGet, Body: http.NoBody, ContentLength: -1},
		"length 0": bodyRequest(strings.NewReader("x"), 0),
		// net/http sends a body of length 0 chunked, and WeChat answers 412.
		"chunked": bodyRequest(strings.NewReader(""), -1),
	} {
		t.Run(name, func(t *testing.T) {
			b, length, err := newReplayBody(req, 8, 8)
			if b != nil || length != 0 || err != nil {
				t.Errorf("newReplayBody = %v, %d, %v", b, length, err)
			}
			// A transport need not tell a request without body from others.
			b.release()
			if err := errors.Join(b.replayable(), b.sourceErr()); err != nil {
				t.Error(err)
			}
		})
	}
}

// The client's body is the server's to close: if it were closed here, the server
// might take what is left of it for the next request.
func TestBodySourceIsNotClosed(t *testing.T) {
	request := func(text string, length int) (*http.Request, *closableSource) {
		source := &closableSource{Reader: strings.NewReader(text)}
		return &http.Request{Method: http.MethodPost, Body: source, ContentLength: int64(length)}, source
	}
	for _, tc := range []struct {
		name   string
		text   string
		length int
	}{
		{"empty", "", 0},
		{"empty, chunked", "", -1},
		{"beyond the limit", "0123456789", 10},
		{"beyond the limit, chunked", "0123456789", -1},
	} {
		req, source := request(tc.text, tc.length)
		if b, _, _ := newReplayBody(req, 4, 8); b != nil || source.closed {
			t.Errorf("%s: body %v, source closed: %t", tc.name, b, source.closed)
		}
	}

	req, source := request("0123456789", 10)
	b, _, err := newReplayBody(req, 4, 10)
	if err != nil {
		t.Fatal(err)
	}
	first, second := b.open(), b.open()
	first.Close()
	b.release()
	wantBody(t, second, "0123456789")
	if second.Close(); source.closed {
		t.Error("closed after the last use")
	}
}

type closableSource struct {
	io.Reader
	closed bool
}

func (s *closableSource) Close() error {
	s.closed = true
	return nil
}

func TestBodyLimit(t *testing.T) {
	const limit = 100
	for _, tc := range []struct {
		name   string
		size   int
		length int
		want   error
	}{
		{"at the limit", limit, limit, nil},
		{"beyond the limit", limit + 1, limit + 1, errBodyTooLarge},
		{"far beyond the limit", 1 << 40, 1 << 40, errBodyTooLarge},
		{"chunked, at the limit", limit, -1, nil},
		{"chunked, beyond the limit", limit + 1, -1, errBodyTooLarge},
		{"chunked, without end", 1 << 40, -1, errBodyTooLarge},
	} {
		for _, memory := range []int64{0, 10, limit - 1, limit, limit + 1, 1 << 20} {
			t.Run(fmt.Sprintf("%s, %d in memory", tc.name, memory), func(t *testing.T) {
				dir := t.TempDir()
				setTempDir(t, dir)
				source := &countingReader{r: io.LimitReader(zeros{}, int64(tc.size))}
				b, length, err := newReplayBody(bodyRequest(source, tc.length), memory, limit)
				if !errors.Is(err, tc.want) {
					t.Fatalf("newReplayBody: %v, want %v", err, tc.want)
				}
				if err == nil && length != int64(tc.size) {
					t.Errorf("length %d, want %d", length, tc.size)
				}
				if tc.length > limit && source.n != 0 {
					t.Errorf("%d bytes were read although the length was told", source.n)
				}
				if source.n > limit+1 {
					t.Errorf("%d bytes were read, %d are allowed", source.n, limit)
				}
				b.release()
				wantEmptyDir(t, dir)
			})
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestBodyMemoryBoundary(t *testing.T) {
	const memory = 64
	sources := map[string]func(io.Reader) io.Reader{
		"at once":       func(r io.Reader) io.Reader { return r },
		"byte by byte":  iotest.OneByteReader,
		"EOF with data": iotest.DataErrReader,
		"in halves":     iotest.HalfReader,
	}
	for _, size := range []int{1, memory - 1, memory, memory + 1, 2*memory - 1, 2 * memory, 10_000} {
		text := bodyText(size)
		for name, wrap := range sources {
			for _, length := range []int{size, -1} {
				t.Run(fmt.Sprintf("%d bytes %s, length %d", size, name, length), func(t *testing.T) {
					dir := t.TempDir()
					setTempDir(t, dir)
					b := mustBody(t, wrap(strings.NewReader(text)), length, memory)
					for range 3 {
						r := b.open()
						wantBody(t, r, text)
						r.Close()
					}
					if err := errors.Join(b.replayable(), b.sourceErr()); err != nil {
						t.Error(err)
					}
					inMemory := min(size, memory)
					if length > memory {
						inMemory = 0
					}
					if inFile := b.file != nil; inFile != (size > memory) || len(b.head) != inMemory {
						t.Errorf("%d bytes in memory, file: %t", len(b.head), inFile)
					}
					b.release()
					wantEmptyDir(t, dir)
				})
			}
		}
	}
}

// However attempts interleave, each sees the whole body.
func TestBodyReadersInTurn(t *testing.T) {
	text := bodyText(300)
	for memory := range int64(20) {
		b := mustBody(t, iotest.HalfReader(strings.NewReader(text)), len(text), memory*10)
		type view struct {
			r   io.ReadCloser
			got []byte
		}
		var views []*view
		for turn := 0; ; turn++ {
			if turn%7 == 0 && len(views) < 4 {
				views = append(views, &view{r: b.open()})
			}
			v := views[turn%len(views)]
			n := 1 + turn%13
			p := make([]byte, n)
			m, err := v.r.Read(p)
			v.got = append(v.got, p[:m]...)
			if err != nil && (err != io.EOF || string(v.got) != text) {
				t.Fatalf("%d in memory: %d bytes, %v", memory*10, len(v.got), err)
			}
			done := len(views) == 4
			for _, v := range views {
				done = done && len(v.got) == len(text)
			}
			if done {
				break
			}
		}
		for _, v := range views {
			if string(v.got) != text {
				t.Errorf("%d in memory: got %.60q", memory*10, v.got)
			}
			v.r.Close()
		}
		b.release()
	}
}

func TestBodyReadersAtOnce(t *testing.T) {
	text := bodyText(20_000)
	for _, memory := range []int64{0, 1_000, 1 << 20} {
		b := mustBody(t, iotest.HalfReader(strings.NewReader(text)), len(text), memory)
		var readers sync.WaitGroup
		for i := range 4 {
			r := b.open()
			readers.Go(func() {
				defer r.Close()
				wantBody(t, struct{ io.Reader }{&smallReader{r, 100 + i}}, text)
			})
		}
		b.release() // those under way go on
		readers.Wait()
		if b.head != nil || b.file != nil || b.uses.Load() != 0 {
			t.Errorf("after the last use: %d bytes, file %v, %d uses", len(b.head), b.file, b.uses.Load())
		}
	}
}

// smallReader reads few bytes at a time, so that readers alternate.
type smallReader struct {
	io.Reader
	n int
}

func (r *smallReader) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), r.n)]) }

// WeChat may refuse a request while the client still sends it.
func TestBodySecondAttemptWhileTheFirstSends(t *testing.T) {
	text := bodyText(1_000)
	source, client := io.Pipe()
	b := mustBody(t, source, len(text), 100)
	first := b.open()
	send := func(s string) {
		if _, err := io.WriteString(client, s); err != nil {
			t.Error(err)
		}
	}
	go send(text[:300])
	beginning := make([]byte, 300)
	if _, err := io.ReadFull(first, beginning); err != nil {
		t.Fatal(err)
	}

	second := b.open()
	go func() {
		send(text[300:])
		client.Close()
	}()
	var attempts sync.WaitGroup
	attempts.Go(func() { wantBody(t, second, text) })
	attempts.Go(func() { wantBody(t, io.MultiReader(bytes.NewReader(beginning), first), text) })
	attempts.Wait()

	first.Close()
	second.Close()
	b.release()
}

// stallingReader tells when a Read waits for it, and gives what it is sent.
type stallingReader struct {
	waiting chan struct{}
	data    chan string
}

func newStallingReader() *stallingReader {
	return &stallingReader{waiting: make(chan struct{}), data: make(chan string)}
}

func (r *stallingReader) Read(p []byte) (int, error) {
	r.waiting <- struct{}{}
	s, ok := <-r.data
	if !ok {
		return 0, io.EOF
	}
	return copy(p, s), nil
}

func TestBodyCloseDoesNotWaitForTheClient(t *testing.T) {
	source := newStallingReader()
	b := mustBody(t, source, 20, 4)
	r := b.open()
	type result struct {
		n   int
		err error
	}
	read := make(chan result)
	go func() {
		n, err := r.Read(make([]byte, 20))
		read <- result{n, err}
	}()
	<-source.waiting
	// The Read that is under way needs what these two let go.
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	b.release()
	if n := b.uses.Load(); n != 1 {
		t.Errorf("%d uses while one Read is under way", n)
	}
	source.data <- "0123456789"
	if got := <-read; got.n != 10 || got.err != nil {
		t.Errorf("Read = %d, %v", got.n, got.err)
	}
	if b.head != nil || b.file != nil || b.uses.Load() != 0 {
		t.Errorf("after the last use: %d bytes, file %v, %d uses", len(b.head), b.file, b.uses.Load())
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, errBodyClosed) {
		t.Errorf("Read after Close: %v", err)
	}
}

func TestBodyReadAfterClose(t *testing.T) {
	b := mustBody(t, strings.NewReader("0123456789"), 10, 4)
	defer b.release()
	r := b.open()
	if _, err := r.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if n, err := r.Read(make([]byte, 3)); n != 0 || !errors.Is(err, errBodyClosed) {
		t.Errorf("Read = %d, %v", n, err)
	}
	// net/http asks for the body again where a kept connection was closed.
	again := b.open()
	defer again.Close()
	wantBody(t, again, "0123456789")
}

func TestBodyTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	setTempDir(t, dir)
	text := bodyText(1_000)
	b := mustBody(t, strings.NewReader(text), len(text), 10)
	first := b.open()
	if _, err := io.ReadFull(first, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	file := b.file
	if file == nil {
		t.Fatal("no temporary file: nothing is tested")
	}
	if runtime.GOOS != "windows" {
		wantEmptyDir(t, dir) // already, for a process can be killed
	}
	second := b.open()
	b.release()
	first.Close()
	wantBody(t, second, text)
	if _, err := file.Stat(); err != nil {
		t.Errorf("freed while in use: %v", err)
	}
	second.Close()
	second.Close()
	wantEmptyDir(t, dir)
}

// What nobody uses is closed, and soon.
func TestSpoolFilesAreClosed(t *testing.T) {
	setTempDir(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		var s spoolFiles
		first, err := s.get()
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.get()
		if err != nil {
			t.Fatal(err)
		}
		s.put(first)
		time.Sleep(spoolPause / 2)
		s.put(second)
		if again, err := s.get(); err != nil || again != second {
			t.Errorf("got %v, %v", again, err)
		}
		s.put(second)
		time.Sleep(3 * spoolPause / 4)
		synctest.Wait()
		if _, err := first.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the first is still open: %v", err)
		}
		if _, err := second.Stat(); err != nil {
			t.Errorf("the second is not: %v", err)
		}
		time.Sleep(spoolPause)
		synctest.Wait()
		if _, err := second.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the second is still open: %v", err)
		}
	})
}

// A file that is used again tells nothing of whom it served before, and takes no
// more than its part of the disk.
func TestSpoolFileIsUsedAgain(t *testing.T) {
	setTempDir(t, t.TempDir())
	file, err := spool.get()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte(strings.Repeat("secret", 1_000)), spoolMax); err != nil {
		t.Fatal(err)
	}
	spool.put(file)
	text := bodyText(1_000)
	b := mustBody(t, strings.NewReader(text), len(text), 10)
	b.file = file
	for range 2 {
		r := b.open()
		wantBody(t, r, text)
		r.Close()
	}
	b.release()
	if info, err := file.Stat(); err == nil && info.Size() > spoolMax {
		t.Errorf("it takes %d bytes", info.Size())
	}
}

// A request does not fail because it could not be replayed if it had to be.
func TestBodyCannotBeKept(t *testing.T) {
	text := bodyText(1_000)
	for name, prepare := range map[string]func(*testing.T, *replayBody){
		"no file can be created": func(t *testing.T, _ *replayBody) {
			setTempDir(t, filepath.Join(t.TempDir(), "missing"))
		},
		"the file cannot be written": func(t *testing.T, b *replayBody) {
			f, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			b.file, b.head = f, []byte{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := mustBody(t, iotest.HalfReader(strings.NewReader(text)), len(text), 100)
			defer b.release()
			prepare(t, b)
			if err := b.replayable(); err != nil {
				t.Errorf("not replayable before anything was read: %v", err)
			}
			first := b.open()
			defer first.Close()
			wantBody(t, first, text)
			if b.replayable() == nil {
				t.Error("replayable although bytes are missing")
			}
			if err := b.sourceErr(); err != nil {
				t.Errorf("the client is blamed: %v", err)
			}
			second := b.open()
			defer second.Close()
			if got, err := io.ReadAll(second); err == nil || !strings.HasPrefix(text, string(got)) {
				t.Errorf("second attempt: %d bytes, %v", len(got), err)
			}
		})
	}
}

// A disk that is full of what nobody uses has room, and gets everything back
// that is of no use.
func TestFullDisk(t *testing.T) {
	setTempDir(t, t.TempDir())
	unused, err := spool.get()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unused.WriteAt(make([]byte, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	// Another process has it open too, such as a backup.
	other, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", unused.Fd()))
	if err != nil {
		t.Skip("there is no /proc here")
	}
	defer other.Close()
	spool.put(unused)

	text := bodyText(1_000)
	b := mustBody(t, strings.NewReader(text), len(text), 10)
	defer b.release()
	path := filepath.Join(t.TempDir(), "full")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	full, err := os.Open(path) // nothing can be written to it
	if err != nil {
		t.Fatal(err)
	}
	b.file, b.head = full, []byte{}
	r := b.open()
	defer r.Close()
	wantBody(t, r, text)
	if info, err := other.Stat(); err != nil || info.Size() > 0 {
		t.Errorf("a file that nobody uses takes %d bytes, %v", info.Size(), err)
	}
	if b.replayable() == nil || b.file != nil {
		t.Errorf("the body can be replayed (%v), and its file is %v", b.replayable(), b.file)
	}
}

// A body that is small is read before it is known where it goes.
func TestSmallBodyIsReadFirst(t *testing.T) {
	for _, size := range []int{1, 1000, ReadFirst, ReadFirst + 1, 10 * ReadFirst} {
		for _, memory := range []int64{100, 1 << 20} {
			source := &countingReader{r: iotest.HalfReader(io.LimitReader(zeros{}, int64(size)))}
			b, length, err := newReplayBody(bodyRequest(source, size), memory, 1<<20)
			if err != nil || length != int64(size) {
				t.Fatalf("newReplayBody = %d, %v", length, err)
			}
			want := size
			if size > ReadFirst {
				want = 0
			}
			if source.n != want {
				t.Errorf("%d of %d bytes were read", source.n, size)
			}
			r := b.open()
			wantBody(t, r, strings.Repeat("\x00", size))
			r.Close()
			b.release()
		}
	}
	b, _, err := newReplayBody(bodyRequest(strings.NewReader("hell"), 5), 100, 100)
	if b != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that breaks off: %v, %v", b, err)
	}
}

// To measure a body is to keep it, so what cannot be kept cannot be sent.
func TestBodyChunkedCannotBeKept(t *testing.T) {
	setTempDir(t, filepath.Join(t.TempDir(), "missing"))
	text := bodyText(1_000)
	_, _, err := newReplayBody(bodyRequest(strings.NewReader(text), -1), 999, 2_000)
	if _, ok := errors.AsType[*os.PathError](err); !ok {
		t.Errorf("newReplayBody: %v", err)
	}
	b, length, err := newReplayBody(bodyRequest(strings.NewReader(text), -1), 1_000, 2_000)
	if err != nil || length != 1_000 {
		t.Errorf("what fits into memory: %d, %v", length, err)
	}
	b.release()
}

func TestBodyClientBreaksOff(t *testing.T) {
	text, broken := bodyText(1_000), errors.New("connection reset")
	for _, memory := range []int64{0, 100, 2_000} {
		source := func() io.Reader { return io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)) }
		b := mustBody(t, source(), 2_000, memory)
		// Every attempt fails like the first, and after the same bytes.
		for range 2 {
			r := b.open()
			if got, err := io.ReadAll(r); !errors.Is(err, broken) || string(got) != text {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			r.Close()
		}
		if err := b.sourceErr(); !errors.Is(err, broken) {
			t.Errorf("sourceErr() = %v", err)
		}
		b.release()

		if _, _, err := newReplayBody(bodyRequest(source(), -1), memory, 1<<20); !errors.Is(err, broken) {
			t.Errorf("chunked: %v", err)
		}
	}
}

// The whole way: a server's request body, sent on with a length, twice.
func TestBodyThroughHTTP(t *testing.T) {
	text := bodyText(5_000)
	type arrival struct {
		length int64
		coding []string
		body   string
	}
	arrivals := make(chan arrival, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		arrivals <- arrival{r.ContentLength, r.TransferEncoding, string(body)}
	}))
	defer upstream.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, length, err := newReplayBody(r, 1_000, 1<<20)
		if err != nil {
			t.Error(err)
			return
		}
		defer b.release()
		for range 2 {
			out, err := http.NewRequestWithContext(r.Context(), http.MethodPost, upstream.URL, b.open())
			if err != nil {
				t.Error(err)
				return
			}
			out.ContentLength = length
			res, err := http.DefaultTransport.RoundTrip(out)
			if err != nil {
				t.Error(err)
				return
			}
			res.Body.Close()
			if got := <-arrivals; got.length != int64(len(text)) || len(got.coding) > 0 || got.body != text {
				t.Errorf("arrived: length %d, %q, %d bytes", got.length, got.coding, len(got.body))
			}
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer proxy.Close()
	for name, body := range map[string]io.Reader{
		"length told": strings.NewReader(text),
		"chunked":     struct{ io.Reader }{strings.NewReader(text)},
	} {
		res, err := http.Post(proxy.URL, "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNoContent {
			t.Errorf("%s: status %d", name, res.StatusCode)
		}
	}
}

// FuzzReplayBody lets readers open, read and close in any order. Every byte of
// ops is a step: its low bits say which reader, the others what it does.
func FuzzReplayBody(f *testing.F) {
	f.Add([]byte("0123456789"), uint8(4), true, []byte{0x00, 0x10, 0x01, 0x21, 0x30, 0xf0, 0x00, 0x70})
	f.Add([]byte("0123456789"), uint8(0), false, []byte{0x00, 0x71, 0xf0, 0x02})
	f.Add([]byte(""), uint8(1), true, []byte{0, 1, 2})
	f.Fuzz(func(t *testing.T, text []byte, memory uint8, known bool, ops []byte) {
		length := -1
		if known {
			length = len(text)
		}
		b, measured, err := newReplayBody(bodyRequest(iotest.HalfReader(bytes.NewReader(text)), length), int64(memory), 1<<20)
		if err != nil || measured != int64(len(text)) {
			t.Fatalf("newReplayBody = %d, %v", measured, err)
		}
		if b == nil {
			return
		}
		type view struct {
			r   io.ReadCloser
			got []byte
		}
		views := make([]*view, 4)
		for _, op := range ops {
			v := views[op%4]
			switch {
			case v == nil:
				views[op%4] = &view{r: b.open()}
			case op>>4 == 15:
				v.r.Close()
				if _, err := v.r.Read(make([]byte, 1)); !errors.Is(err, errBodyClosed) {
					t.Fatalf("Read after Close: %v", err)
				}
				views[op%4] = nil
			default:
				p := make([]byte, op>>4)
				n, err := v.r.Read(p)
				v.got = append(v.got, p[:n]...)
				if !bytes.HasPrefix(text, v.got) || err == io.EOF && len(v.got) != len(text) || err != nil && err != io.EOF {
					t.Fatalf("got %q, %v of %q", v.got, err, text)
				}
			}
		}
		for _, v := range views {
			if v == nil {
				continue
			}
			rest, err := io.ReadAll(v.r)
			if err != nil || !bytes.Equal(append(v.got, rest...), text) {
				t.Fatalf("got %q and %q, %v of %q", v.got, rest, err, text)
			}
			v.r.Close()
		}
		b.release()
		if b.uses.Load() != 0 || b.file != nil || b.head != nil {
			t.Fatalf("after the last use: %d uses, file %v, %d bytes", b.uses.Load(), b.file, len(b.head))
		}
	})
}

func TestBodyKeptBytesDoNotWaitForTheClient(t *testing.T) {
	source := newStallingReader()
	b := mustBody(t, source, 20, 4)
	defer b.release()
	first := b.open()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.ReadAll(first)
	}()
	<-source.waiting
	source.data <- "0123456789"
	<-source.waiting // the client stalls in the middle of its body

	second := b.open()
	kept := make(chan error, 1)
	go func() {
		if err := errors.Join(b.replayable(), b.sourceErr()); err != nil {
			kept <- err
			return
		}
		_, err := io.ReadFull(second, make([]byte, 10))
		kept <- err
	}()
	select {
	case err := <-kept:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a replay waits for the client although the bytes it wants are kept")
	}
	close(source.data)
	<-done
}

func TestBodyLimitOfEverything(t *testing.T) {
	b, length, err := newReplayBody(bodyRequest(strings.NewReader("hello"), -1), 8, math.MaxInt64)
	defer b.release()
	if err != nil || length != 5 {
		t.Errorf("newReplayBody = %d, %v, want 5", length, err)
	}
}
