package platform

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// workingSet holds the accounts of a platform that are in use in this process. It
// outlives configurations: what a newer one asks for is made again for that, with
// what is known of its token.
type workingSet struct {
	*credential.WorkingSet[*account.Account]
	of      *workingSets
	key     string
	holders int // configurations
}

// workingSets are those of a process, by their platforms.
type workingSets struct {
	mu    sync.Mutex
	byKey map[string]*workingSet
}

// processSets are this process's.
var processSets = newWorkingSets()

func newWorkingSets() *workingSets { return &workingSets{byKey: make(map[string]*workingSet)} }

// acquire returns a platform's set, for about so many accounts.
func (ws *workingSets) acquire(key string, size int) (*workingSet, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	s := ws.byKey[key]
	if s == nil {
		set, err := credential.NewWorkingSet(int64(size), func(a *account.Account) { a.Credential().End() })
		if err != nil {
			return nil, err
		}
		s = &workingSet{WorkingSet: set, of: ws, key: key}
		ws.byKey[key] = s
	}
	s.holders++
	s.Resize(int64(size))
	return s, nil
}

// release gives the set back.
func (s *workingSet) release() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.holders--; s.holders == 0 {
		delete(s.of.byKey, s.key)
		s.Close()
	}
}

// searchTimeout bounds one search, for whoever waits for it.
const searchTimeout = 45 * time.Second

// searches are the accounts that are being looked for, each once for all who need
// it.
type searches struct {
	mu   sync.Mutex
	byID map[string]*search
}

type search struct {
	done    chan struct{}
	account *account.Account
	err     error
}

// do returns what f finds. No client's leaving ends a search.
func (s *searches) do(ctx context.Context, id string, f func(context.Context) (*account.Account, error)) (*account.Account, error) {
	found := s.begin(ctx, id, f)
	select {
	case <-found.done:
		return found.account, found.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// begin returns the search that is under way, or a new one.
func (s *searches) begin(ctx context.Context, id string, f func(context.Context) (*account.Account, error)) *search {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.byID[id]; found != nil {
		return found
	}
	if s.byID == nil {
		s.byID = make(map[string]*search)
	}
	found := &search{done: make(chan struct{})}
	s.byID[id] = found
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), searchTimeout)
		defer cancel()
		found.account, found.err = f(ctx)
		s.mu.Lock()
		delete(s.byID, id)
		s.mu.Unlock()
		close(found.done)
	}()
	return found
}
