package account

import (
	"sync/atomic"
	"time"
)

// Trouble is an error of an API that an operator has to do something about.
type Trouble struct {
	Errcode int
	Errmsg  string
	At      time.Time
}

// lastTrouble is the last of them. It is not changed.
type lastTrouble struct {
	Trouble
	isCurrent bool // no request has succeeded since
}

// troubles has the last of them. The zero value is that of an account without.
type troubles struct{ last atomic.Pointer[lastTrouble] }

// InTrouble notes an error of an API that an operator has to do something about.
func (a *Account) InTrouble(t Trouble) {
	a.troubles.last.Store(&lastTrouble{t, true})
}

// Succeeded notes that an API has done what a request wanted.
func (a *Account) Succeeded() {
	if last := a.troubles.last.Load(); last != nil && last.isCurrent {
		// Where there is another by now, it has come later.
		a.troubles.last.CompareAndSwap(last, &lastTrouble{last.Trouble, false})
	}
}

// Trouble returns the last error of an API that an operator had to do something
// about, and reports whether that is so still. Its time is zero where there was
// none.
func (a *Account) Trouble() (last Trouble, isCurrent bool) {
	if t := a.troubles.last.Load(); t != nil {
		return t.Trouble, t.isCurrent
	}
	return Trouble{}, false
}
