package weixin

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
)

// Whatever a test started has ended with it.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(programtest.Tests{M: m})
}
