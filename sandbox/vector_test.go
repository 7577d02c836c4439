package sandbox

import (
	"encoding/base64"
	"strings"
	"testing"
)

// The sample of WeChat's guide.
func TestSecurityVector(t *testing.T) {
	signing, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	security, err := newAPISecurity(&APISecurity{
		Keys:      []SecurityKey{{SN: "fa05fe1e5bcc79b81ad5ad4b58acf787", Key: "otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY="}},
		PublicKey: string(signing.pem), // a certificate will do
	})
	if err != nil {
		t.Fatal(err)
	}
	const (
		appID = "wxba6223c06417af7b"
		path  = "/wxa/getuserriskrank"
		at    = 1635927954
		text  = `{"_n":"o89QaPVsRu1yppIZzvSZc4","_appid":"wxba6223c06417af7b","_timestamp":1635927954,"appid":"wxba6223c06417af7b",` +
			`"openid":"oEWzBfmdLqhFS2mTXCo2E4Y9gJAM","scene":0,"client_ip":"127.0.0.1"}`
	)
	iv, _ := base64.StdEncoding.DecodeString("fmW/zNxXlytUZBgj")
	key := security.keys[0]
	data := key.aead.Seal(nil, iv, []byte(text), additional(path, appID, at, key.sn))
	e := envelope{
		IV:      "fmW/zNxXlytUZBgj",
		Data:    base64.StdEncoding.EncodeToString(data[:len(data)-16]),
		AuthTag: base64.StdEncoding.EncodeToString(data[len(data)-16:]),
	}
	if !strings.HasPrefix(e.Data, "0IDVdrPtSPF/Oe2C") || e.AuthTag != "5qeM/2vZv+6KtScN94IpMg==" || len(encode(e)) != 324 {
		t.Errorf("%+v", e)
	}
	if got, _ := security.open(encode(e), path, appID, at); string(got) != text {
		t.Errorf("%s", got)
	}
}
