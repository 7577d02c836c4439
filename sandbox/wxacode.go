package sandbox

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"math/rand/v2"
	"strings"
	"sync"
)

const (
	maxWXACodePath = 1024
	maxScene       = 32
)

func codeRoutes() []route {
	path := check("path", invalidWXACodePath, textUpTo(maxWXACodePath))
	return []route{
		post("/cgi-bin/qrcode/create", "a QR code of an official account", (*call).qrcodeCreate,
			`{"expire_seconds":600,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"door"}}}`,
			check("action_name", invalidActionInfo, oneOf("QR_SCENE", "QR_STR_SCENE", "QR_LIMIT_SCENE", "QR_LIMIT_STR_SCENE")),
			param{name: "expire_seconds"}, param{name: "action_info.scene.scene_id"}, param{name: "action_info.scene.scene_str"}),
		post("/wxa/getwxacode", "a mini program's code", (*call).code, `{"path":"pages/index"}`, path),
		post("/wxa/getwxacodeunlimit", "a mini program's code, without limit", (*call).code, `{"scene":"a=1"}`,
			check("scene", invalidScene, textUpTo(maxScene)), param{name: "page"}),
		post("/cgi-bin/wxaapp/createwxaqrcode", "a mini program's QR code", (*call).code, `{"path":"pages/index","width":430}`, path),
	}
}

func (c *call) code() (any, error) {
	return blob{contentType: "image/jpeg", filename: "QRCode.jpg", data: codePicture()}, nil
}

// Seconds that a temporary QR code lives.
const (
	defaultQRCodeSeconds = 60
	maxQRCodeSeconds     = 30 * 24 * 60 * 60
)

func (c *call) qrcodeCreate() (any, error) {
	action := c.text("action_name")
	if strings.HasSuffix(action, "STR_SCENE") {
		if c.text("action_info.scene.scene_str") == "" {
			return nil, refuse(invalidActionInfo)
		}
	} else if c.number("action_info.scene.scene_id") <= 0 {
		return nil, refuse(invalidActionInfo)
	}
	answer := object{"ticket": "gQ" + randomText(69), "url": "http://weixin.qq.com/q/" + randomText(15)}
	if !strings.HasPrefix(action, "QR_LIMIT_") {
		seconds := c.number("expire_seconds")
		if seconds <= 0 {
			seconds = defaultQRCodeSeconds
		}
		answer["expire_seconds"] = min(seconds, maxQRCodeSeconds)
	}
	return answer, nil
}

// codePicture is a JPEG that looks like a code and means nothing.
var codePicture = sync.OnceValue(func() []byte {
	const modules, scale, border = 29, 8, 24
	picture := image.NewGray(image.Rect(0, 0, modules*scale+2*border, modules*scale+2*border))
	draw.Draw(picture, picture.Bounds(), image.White, image.Point{}, draw.Src)
	fill := func(x, y, size int, c color.Color) {
		r := image.Rect(x*scale, y*scale, (x+size)*scale, (y+size)*scale).Add(image.Pt(border, border))
		draw.Draw(picture, r, image.NewUniform(c), image.Point{}, draw.Src)
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same picture in every process
	for y := range modules {
		for x := range modules {
			if random.IntN(2) == 0 {
				fill(x, y, 1, color.Black)
			}
		}
	}
	for _, corner := range []image.Point{{X: 0, Y: 0}, {X: modules - 7, Y: 0}, {X: 0, Y: modules - 7}} {
		fill(corner.X, corner.Y, 7, color.Black)
		fill(corner.X+1, corner.Y+1, 5, color.White)
		fill(corner.X+2, corner.Y+2, 3, color.Black)
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, picture, nil); err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return b.Bytes()
})
