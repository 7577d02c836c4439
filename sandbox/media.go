package sandbox

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// How much is kept of an account's temporary media; the oldest go first.
const (
	mediaLifetime = 3 * 24 * time.Hour
	maxMediaCount = 100
	maxMediaTotal = 32 << 20
)

// mediaLimits are the sizes that WeChat allows by type.
var mediaLimits = map[string]int{
	"image": 10 << 20,
	"voice": 2 << 20,
	"video": 10 << 20,
	"thumb": 64 << 10,
}

const maxMediaSize = 10 << 20

type mediaFile struct {
	id          string
	contentType string
	extension   string // with its dot, or ""
	data        []byte
	expires     time.Time
}

// mediaStore holds an account's temporary media, the oldest first.
type mediaStore struct {
	files []*mediaFile
	size  int
}

func (s *mediaStore) add(f *mediaFile) {
	s.files = append(s.files, f)
	s.size += len(f.data)
	for len(s.files) > maxMediaCount || s.size > maxMediaTotal {
		s.size -= len(s.files[0].data)
		s.files = slices.Delete(s.files, 0, 1)
	}
}

// find returns nil where there is no such file, or no longer.
func (s *mediaStore) find(id string, now time.Time) *mediaFile {
	for _, f := range s.files {
		if f.id == id && now.Before(f.expires) {
			return f
		}
	}
	return nil
}

// readUpload returns the file in the form field media, nil where there is none.
// Of a file that is too large it returns a little more than is allowed.
func readUpload(contentType string, body io.Reader) (*mediaFile, error) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "multipart/form-data" {
		return nil, nil //nolint:nilerr // another form of body has no such field
	}
	form := multipart.NewReader(body, params["boundary"])
	for {
		part, err := form.NextPart()
		if err != nil {
			return nil, bodyError(err)
		}
		if part.FormName() != "media" {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(part, maxMediaSize+1))
		if err != nil {
			return nil, bodyError(err)
		}
		return &mediaFile{
			contentType: mediaContentType(part.Header.Get("Content-Type"), data),
			extension:   extension(part.FileName()),
			data:        data,
		}, nil
	}
}

// bodyError tells a body beyond the limit from one that is no form.
func bodyError(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	return nil
}

// mediaContentType lets nothing through that a browser would run.
func mediaContentType(declared string, data []byte) string {
	for _, candidate := range []string{declared, http.DetectContentType(data)} {
		mediaType, _, err := mime.ParseMediaType(candidate)
		kind, _, _ := strings.Cut(mediaType, "/")
		if err == nil && (kind == "image" || kind == "audio" || kind == "video") {
			return mediaType
		}
	}
	return "application/octet-stream"
}

var extensionForm = regexp.MustCompile(`^\.[A-Za-z0-9]{1,5}$`)

func extension(filename string) string {
	if ext := path.Ext(filename); extensionForm.MatchString(ext) {
		return ext
	}
	return ""
}

func (c *call) mediaUpload() (any, error) {
	kind := c.param("type")
	limit, known := mediaLimits[kind]
	switch {
	case !known:
		return nil, refuse(invalidMediaType)
	case c.upload == nil || len(c.upload.data) == 0:
		return nil, refuse(mediaMissing)
	case len(c.upload.data) > limit:
		return nil, refuse(wechat.MediaTooLarge)
	}
	file := c.upload
	file.id = randomText(64)
	file.expires = c.now.Add(mediaLifetime)
	c.account.media.add(file)

	answer := struct {
		Type         string `json:"type"`
		MediaID      string `json:"media_id,omitempty"`
		ThumbMediaID string `json:"thumb_media_id,omitempty"`
		CreatedAt    int64  `json:"created_at"`
	}{Type: kind, CreatedAt: c.now.Unix()}
	if kind == "thumb" {
		answer.ThumbMediaID = file.id
	} else {
		answer.MediaID = file.id
	}
	return answer, nil
}

func (c *call) mediaGet() (any, error) {
	file := c.account.media.find(c.param("media_id"), c.now)
	if file == nil {
		return nil, refuse(invalidMediaID)
	}
	return blob{contentType: file.contentType, filename: file.id + file.extension, data: file.data}, nil
}
