package api

import (
	"maps"
	"slices"
	"strings"
)

// What 2021-10-01-preview writes in another way than the versions after it.

// headers2021 reads custom headers: a list of names and values.
func (b *body) headers2021(n node) []field {
	var all []field
	for e := range b.elements(n) {
		f := field{b.filled(e.at("name")), b.required(e.at("value"))}
		b.checkHeader(e.path, f)
		all = append(all, f)
	}
	return all
}

// attachment2021 reads a file, whose type is one of a few words or, as later, a
// media type.
func (b *body) attachment2021(n node) attachment {
	a := attachment{name: b.fileName(n.at("name")), content: b.base64(n.at("contentBytesBase64"))}
	kind := n.at("attachmentType")
	word := b.filled(kind)
	if strings.Contains(word, "/") {
		a.contentType = b.mediaType(kind)
		return a
	}
	known := attachmentTypes()
	if a.contentType = known[strings.ToLower(word)]; a.contentType == "" {
		b.wrong(kind.path, kind.path+" must be one of "+strings.Join(slices.Sorted(maps.Keys(known)), ", ")+", or a media type as in text/calendar")
	}
	return a
}

// importance reads how important a message is: "" if it is as others.
func (b *body) importance(n node) string {
	switch s := b.text(n); s {
	case "", "normal":
	case "high", "low":
		return s
	default:
		b.wrong(n.path, n.path+" must be high, normal or low")
	}
	return ""
}

// attachmentTypes returns the media types of the words for them (EmailAttachmentType
// of 2021-10-01-preview), as far as they are registered with IANA, else as their
// programs have them.
func attachmentTypes() map[string]string {
	return map[string]string{
		"avi":   "video/x-msvideo",
		"bmp":   "image/bmp",
		"doc":   "application/msword",
		"docm":  "application/vnd.ms-word.document.macroEnabled.12",
		"docx":  "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
		"gif":   "image/gif",
		"jpeg":  "image/jpeg",
		"mp3":   "audio/mpeg",
		"one":   "application/onenote",
		"pdf":   "application/pdf",
		"png":   "image/png",
		"ppsm":  "application/vnd.ms-powerpoint.slideshow.macroEnabled.12",
		"ppsx":  "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
		"ppt":   "application/vnd.ms-powerpoint",
		"pptm":  "application/vnd.ms-powerpoint.presentation.macroEnabled.12",
		"pptx":  "application/vnd.openxmlformats-officedocument.presentationml.presentation",
		"pub":   "application/vnd.ms-publisher",
		"rpmsg": "application/vnd.ms-outlook",
		"rtf":   "application/rtf",
		"tif":   "image/tiff",
		"txt":   "text/plain",
		"vsd":   "application/vnd.visio",
		"wav":   "audio/wav",
		"wma":   "audio/x-ms-wma",
		"xls":   "application/vnd.ms-excel",
		"xlsb":  "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
		"xlsm":  "application/vnd.ms-excel.sheet.macroEnabled.12",
		"xlsx":  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	}
}
