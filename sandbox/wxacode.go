package sandbox

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"math/rand/v2"
	"sync"
)

const (
	maxWXACodePath = 1024
	maxScene       = 32
)

func (c *call) wxaCode() (any, error) {
	var body struct {
		Path string `json:"path"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if n := len(body.Path); n == 0 || n > maxWXACodePath {
		return nil, refuse(invalidWXACodePath)
	}
	return blob{contentType: "image/jpeg", data: codePicture()}, nil
}

func (c *call) wxaCodeUnlimited() (any, error) {
	var body struct {
		Scene string `json:"scene"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if n := len(body.Scene); n == 0 || n > maxScene {
		return nil, refuse(invalidScene)
	}
	return blob{contentType: "image/jpeg", data: codePicture()}, nil
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
