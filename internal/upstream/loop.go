package upstream

import (
	"errors"
	"strings"
)

// An upstream may lead back to this proxy: it is the proxy's own address, or DNS
// leads WeChat's name here. Each request would then be the cause of another,
// until there are no more connections. Nothing that goes to WeChat may tell of
// the proxy, so there is no mark in requests by which that could be seen.
//
// What is certain is seen at once: a request that came over one of the process's
// own connections, and a token endpoint that hands out the proxy's own virtual
// token. Where others stand in between, such as a load balancer or a second
// proxy, the proxy would wait for itself. Then a fetch of a token by a proxy is
// not waited for as long as others, and so many requests that are the same and
// have the looks of the proxy's own are not served at a time. A proxy that has
// WeChat's own token is at the end of its chain, so this is only for requests
// that take no token, and for those with another proxy's.

// loopFound begins all messages about it, by which a proxy knows that another
// one, or it itself, has found the loop.
const loopFound = "upstream leads back to this proxy"

const loopCure = ": write upstream https://api.weixin.qq.com, for example, or, where DNS or a hosts file leads that name here, resolver 223.5.5.5"

var (
	// ErrLoop is the error of a request that came back to where it started.
	ErrLoop = errors.New(loopFound + loopCure)

	// ErrNestedFetch is the cause of the end of a proxy's fetch that waited too
	// long.
	ErrNestedFetch = errors.New("a token is being fetched for so long that " + loopFound + ", perhaps" + loopCure)

	// ErrNestedRequests is the cause of a refusal of one request of many.
	ErrNestedRequests = errors.New("so many requests are the same that " + loopFound + ", perhaps" + loopCure)
)

// TellsOfLoop reports whether a cause is a loop that was found, here or by who
// has answered.
func TellsOfLoop(message string) bool { return strings.Contains(message, loopFound) }
