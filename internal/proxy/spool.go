package proxy

import (
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

// spool hands out temporary files for request bodies.
var spool spoolFiles

// spoolFiles are temporary files without a name, so that they are gone with the
// process, however that ends.
//
// A file that is done with may be used again within a second, and is written
// over: the system has its memory already, and getting that costs more than the
// writing.
type spoolFiles struct {
	mu     sync.Mutex
	unused []unusedFile // the one that was given back last is used first
	timer  *time.Timer  // of the next close; nil while none is unused
}

type unusedFile struct {
	*os.File
	since time.Time
}

const (
	// spoolPause is how long a file is kept that nobody uses.
	spoolPause = time.Second

	// spoolMax bounds what it takes of the disk meanwhile.
	spoolMax = 16 << 20
)

// get returns a file. What it contains is another's, to be written over.
func (s *spoolFiles) get() (*os.File, error) {
	s.mu.Lock()
	if last := len(s.unused) - 1; last >= 0 {
		f := s.unused[last].File
		s.unused = s.unused[:last]
		s.mu.Unlock()
		return f, nil
	}
	s.mu.Unlock()
	f, err := os.CreateTemp("", "caddy-weixin-body-*")
	if err != nil {
		return nil, err
	}
	removeTemporary(f)
	return f, nil
}

// put takes a file back.
func (s *spoolFiles) put(f *os.File) {
	// On Windows a file in use has a name, and is not left lying about.
	info, err := f.Stat()
	if runtime.GOOS == "windows" || err != nil || info.Size() > spoolMax && f.Truncate(spoolMax) != nil {
		closeTemporary(f)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unused = append(s.unused, unusedFile{f, time.Now()})
	if s.timer == nil {
		s.timer = time.AfterFunc(spoolPause, s.sweep)
	}
}

// clear closes the files that nobody uses, and reports whether there were any.
func (s *spoolFiles) clear() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.unused {
		closeTemporary(f.File)
	}
	found := len(s.unused) > 0
	s.unused = nil
	return found
}

// sweep closes the files that nobody has used for a while.
func (s *spoolFiles) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.unused = slices.DeleteFunc(s.unused, func(f unusedFile) bool {
		old := now.Sub(f.since) >= spoolPause
		if old {
			closeTemporary(f.File)
		}
		return old
	})
	s.timer = nil
	if len(s.unused) > 0 {
		s.timer = time.AfterFunc(s.unused[0].since.Add(spoolPause).Sub(now), s.sweep)
	}
}

func closeTemporary(f *os.File) {
	// The disk has its blocks back at once, whoever else has the file open: a
	// process that was started meanwhile, or a backup.
	_ = f.Truncate(0)
	// What cannot be closed has no name any more, so nothing stays behind.
	_ = f.Close()
	removeTemporary(f)
}

func removeTemporary(f *os.File) {
	_ = os.Remove(f.Name())
}
