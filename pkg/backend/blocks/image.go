package blocks

import (
	"fmt"
	"mime"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Image is the image of a part: its URL, or its data.
type Image struct {
	URL    string
	Format string // jpeg, png, gif or webp
	Base64 string // "" for an image with a URL
}

// formats are the image formats of the protocols.
var formats = []string{"jpeg", "png", "gif", "webp"}

// ImageOf returns the image of a part. It returns an error for a part that is no image, and for a format that the protocols do not have.
func ImageOf(p *backend.Part) (Image, error) {
	if p.Image == "" {
		return Image{}, fmt.Errorf("only texts and images can be sent to this server: %.80s", p.Other)
	}
	data, ok := strings.CutPrefix(p.Image, "data:")
	if !ok {
		return Image{URL: p.Image}, nil
	}
	head, content, ok := strings.Cut(data, ",")
	media, encoded := strings.CutSuffix(head, ";base64")
	if !ok || !encoded {
		return Image{}, fmt.Errorf("an image must be a URL, or data:image/png;base64,…: got %.40q", p.Image)
	}
	kind, _, _ := mime.ParseMediaType(media)
	format, ok := strings.CutPrefix(kind, "image/")
	if format == "jpg" {
		format = "jpeg"
	}
	if !ok || !slices.Contains(formats, format) {
		return Image{}, fmt.Errorf("an image must have one of the formats %s: got %.40q", strings.Join(formats, ", "), media)
	}
	return Image{Format: format, Base64: content}, nil
}
