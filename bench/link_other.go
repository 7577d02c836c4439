//go:build !linux

package main

import (
	"context"
	"errors"
	"time"
)

func newLink(context.Context, time.Duration) (*link, error) {
	return nil, errors.New("only on Linux")
}
