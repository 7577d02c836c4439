package wechat

import "strconv"

// OtherErrcode is the label of errcodes that are not known.
const OtherErrcode = "other"

// ErrcodeLabel returns an errcode as a metric's label. There are no more of
// them than known errcodes and OtherErrcode, whatever an upstream answers.
func ErrcodeLabel(errcode int) string {
	if label, ok := errcodeLabels[errcode]; ok {
		return label
	}
	return OtherErrcode
}

var errcodeLabels = func() map[int]string {
	labels := make(map[int]string, len(knownErrcodes))
	for _, errcode := range knownErrcodes {
		labels[errcode] = strconv.Itoa(errcode)
	}
	for _, kind := range Kinds {
		for errcode := range kind.Advice {
			labels[errcode] = strconv.Itoa(errcode)
		}
	}
	return labels
}()

// knownErrcodes are the documented errcodes that any API may answer, and those
// that the proxy acts on.
var knownErrcodes = [...]int{
	// Any API.
	SystemBusy, BackendFailed, OK,
	InvalidCredential, InvalidGrantType, 40003, 40004, 40005, 40006, 40007, 40008, 40009,
	InvalidAppID, InvalidAccessToken, InvalidCode, 40030, 40033, InvalidParameter, 40037, InvalidURL,
	40078, 40097, InvalidAppSecret, 40163, InvalidIP, SecretFrozen,
	AccessTokenMissing, AppIDMissing, 41003, AppSecretMissing, 41005, 41006, 41008, 41009,
	AccessTokenExpired, 42002, 42003, 42007,
	RequireGET, RequirePOST, 43003, 43004, 44001, 44002, 44003, 44004,
	MediaTooLarge, 45002, 45003, 45008, QuotaExhausted, 45010, TooFrequent, 45015, 45047, 45065,
	46001, 46003, DataFormatError, APIUnauthorized, 48002, 48003, 48004, 48006,
	50001, UserLimited, 50003, TokenForbidden, 50005, AccountFrozen, 76022, 87009, 87014,
	IPConfirmationPending, IPNeedsConfirmation, IPRefusedTwice, IPRefusedOnce,

	// WeCom.
	40080, 40082, 40083, 40084, 40085, 40086, 40091, 40093, 42009, 42012, 42021, 45033,
	60011, 60020, 301002,

	// Third-party platforms.
	61003, 61004, 61005, 61006, 61007, 61009, 61010, 61011, 61023, 61024,

	// API security.
	40230, 40231, 40232, 40233, 40234, 40235, 40236, 40237, 40238, 40239, 40240,
}
