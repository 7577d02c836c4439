package platform

import (
	"context"
	"time"
)

// settlePatience is how long who lists authorizers waits for those that this
// process has just met.
const settlePatience = time.Second

// Count returns how many authorizers there are in the store, and how many in memory.
func (p *Platform) Count(ctx context.Context) (known, inMemory int, err error) {
	p.settle(ctx)
	known, err = p.index.count(ctx)
	return known, p.authorizers.Len(), err
}

// List returns up to limit appids of authorizers after one, in order, and the one
// to go on after, or "" at the end. They are 1,000 at most.
func (p *Platform) List(ctx context.Context, after string, limit int) (appIDs []string, next string, err error) {
	p.settle(ctx)
	return p.index.list(ctx, after, limit)
}

func (p *Platform) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	_ = p.index.settle(ctx) // what is not there yet comes later
}
