package account

import (
	"sync"
	"sync/atomic"
	"time"
)

// Trouble is an error of an API that an operator has to do something about.
type Trouble struct {
	Errcode int
	Errmsg  string
	At      time.Time
}

// troubles are the last of them. The zero value is that of an account without.
type troubles struct {
	current atomic.Bool // no request has succeeded since

	mu   sync.Mutex
	last Trouble
}

// InTrouble notes an error of an API that an operator has to do something about.
func (a *Account) InTrouble(t Trouble) {
	a.troubles.mu.Lock()
	defer a.troubles.mu.Unlock()
	a.troubles.last = t
	a.troubles.current.Store(true)
}

// Succeeded notes that an API has done what a request wanted.
func (a *Account) Succeeded() {
	if a.troubles.current.Load() {
		a.troubles.current.Store(false)
	}
}

// Trouble returns the last error of an API that an operator had to do something
// about, and reports whether that is so still. Its time is zero where there was
// none.
func (a *Account) Trouble() (last Trouble, isCurrent bool) {
	a.troubles.mu.Lock()
	defer a.troubles.mu.Unlock()
	return a.troubles.last, a.troubles.current.Load()
}
