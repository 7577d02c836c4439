package weixin

import (
	"os"
	"runtime"
	"sync"
)

// spool hands out temporary files for request bodies.
var spool spoolFiles

// spoolFiles are temporary files without a name, so that they are gone with the
// process, however that ends.
//
// A file that is done with is used again, and written over: the system has its
// memory already, and getting that costs more than the writing. What nobody has
// used for a while is closed by the garbage collector.
type spoolFiles struct {
	unused sync.Pool
}

// spoolFileMax bounds what a file that nobody uses takes of the disk.
const spoolFileMax = 16 << 20

// get returns a file. What it contains is another's, to be written over.
func (s *spoolFiles) get() (*os.File, error) {
	if f, ok := s.unused.Get().(*os.File); ok {
		return f, nil
	}
	f, err := os.CreateTemp("", "caddy-weixin-body-*")
	if err != nil {
		return nil, err
	}
	removeTemporary(f)
	return f, nil
}

// put takes a file back.
func (s *spoolFiles) put(f *os.File) {
	// Elsewhere a file in use has a name, and is not left lying about.
	if runtime.GOOS != "windows" {
		if info, err := f.Stat(); err == nil && (info.Size() <= spoolFileMax || f.Truncate(spoolFileMax) == nil) {
			s.unused.Put(f)
			return
		}
	}
	// What cannot be closed has no name any more, so nothing stays behind.
	_ = f.Close()
	removeTemporary(f)
}

func removeTemporary(f *os.File) {
	_ = os.Remove(f.Name())
}
