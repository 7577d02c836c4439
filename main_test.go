package weixin

import (
	"testing"

	"go.uber.org/goleak"
)

// Whatever a test started has ended with it.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}
