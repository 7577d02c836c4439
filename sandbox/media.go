package sandbox

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// How much is kept of an account's media, of the temporary ones and of the
// permanent ones; the oldest go first.
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

const maxMediaSize = 20 << 20 // of any type

type mediaFile struct {
	id          string
	kind        string
	name        string
	contentType string
	extension   string // with its dot, or ""
	data        []byte
	added       time.Time
}

// mediaStore holds an account's media, the oldest first.
type mediaStore struct {
	permanent bool
	files     []*mediaFile
	size      int
}

func (s *mediaStore) add(f *mediaFile) {
	s.files = append(s.files, f)
	s.size += len(f.data)
	for len(s.files) > maxMediaCount || s.size > maxMediaTotal {
		s.size -= len(s.files[0].data)
		s.files = slices.Delete(s.files, 0, 1)
	}
}

func (s *mediaStore) remove(f *mediaFile) {
	s.files = slices.DeleteFunc(s.files, func(other *mediaFile) bool { return other == f })
	s.size -= len(f.data)
}

// find returns nil where there is no such file, or no longer.
func (s *mediaStore) find(id string, now time.Time) *mediaFile {
	for _, f := range s.files {
		if f.id == id && (s.permanent || now.Before(f.added.Add(mediaLifetime))) {
			return f
		}
	}
	return nil
}

// maxFormField is how much of a field is read that is no file.
const maxFormField = 64 << 10

// readUpload returns the file in the form field media, nil where there is none,
// and the other fields. Of a file that is too large it returns a little more
// than is allowed.
func readUpload(contentType string, body io.Reader) (*mediaFile, url.Values, error) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "multipart/form-data" {
		return nil, nil, nil //nolint:nilerr // another form of body has no such field
	}
	var file *mediaFile
	fields := make(url.Values)
	form := multipart.NewReader(body, params["boundary"])
	for {
		part, err := form.NextPart()
		if err != nil {
			return file, fields, bodyError(err)
		}
		if part.FormName() == "media" && file == nil {
			file, err = readFile(part)
		} else if len(fields) < 16 {
			var value []byte
			value, err = io.ReadAll(io.LimitReader(part, maxFormField))
			fields.Add(part.FormName(), string(value))
		}
		if err != nil {
			return nil, nil, bodyError(err)
		}
	}
}

func readFile(part *multipart.Part) (*mediaFile, error) {
	data, err := io.ReadAll(io.LimitReader(part, maxMediaSize+1))
	if err != nil {
		return nil, err
	}
	return &mediaFile{
		name:        path.Base(part.FileName()),
		contentType: mediaContentType(part.Header.Get("Content-Type"), data),
		extension:   extension(part.FileName()),
		data:        data,
	}, nil
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

func mediaRoutes() []route {
	kind := check("type", invalidMediaType, func(value any) bool { s, _ := value.(string); return mediaLimits[s] > 0 })
	return []route{
		upload("/cgi-bin/media/upload", "keeps a file for three days", (*call).mediaUpload, "type=image", kind),
		get("/cgi-bin/media/get", "a file that was uploaded", (*call).mediaGet, "media_id={media}", need("media_id", invalidMediaID)).inParts(),
		upload("/cgi-bin/media/uploadimg", "keeps a picture for articles", (*call).uploadPicture, ""),
	}
}

// checkUpload returns the file that came, kept as one of a kind from now on.
func (c *call) checkUpload(kind string, limit int) (*mediaFile, error) {
	switch {
	case c.upload == nil || len(c.upload.data) == 0:
		return nil, c.refuse(mediaMissing)
	case len(c.upload.data) > limit:
		return nil, c.refuse(mediaTooLarge)
	}
	file := c.upload
	file.id, file.kind, file.added = randomText(64), kind, c.now
	return file, nil
}

func (c *call) mediaUpload() (any, error) {
	kind := c.param("type")
	file, err := c.checkUpload(kind, mediaLimits[kind])
	if err != nil {
		return nil, err
	}
	c.account.media.add(file)
	name := "media_id"
	if kind == "thumb" {
		name = "thumb_media_id"
	}
	return object{"type": kind, name: file.id, "created_at": c.now.Unix()}, nil
}

func (c *call) mediaGet() (any, error) {
	file := c.account.media.find(c.param("media_id"), c.now)
	if file == nil {
		return nil, refuse(invalidMediaID)
	}
	return file.blob(), nil
}

func (f *mediaFile) blob() blob {
	return blob{contentType: f.contentType, filename: f.id + f.extension, data: f.data}
}

const maxPicture = 1 << 20

func (c *call) uploadPicture() (any, error) {
	file, err := c.checkUpload("image", maxPicture)
	if err, tooLarge := err.(*apiError); tooLarge && err.code == mediaTooLarge { //nolint:errorlint // it is never wrapped
		return nil, refuse(invalidImageSize)
	}
	if err != nil {
		return nil, err
	}
	if file.contentType != "image/jpeg" && file.contentType != "image/png" {
		return nil, refuse(invalidFileType)
	}
	return object{"url": pictureURL(file.id)}, nil
}

// pictureURL is the address of a picture. Nothing is there.
func pictureURL(id string) string { return "http://mmbiz.qpic.cn/mmbiz_png/" + id + "/0" }
