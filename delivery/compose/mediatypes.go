package compose

import (
	_ "embed"
	"strings"
)

// mediaTypesFile has a line per media type: the type, the extension for files
// of that type that have no name, and the extensions that mean it. The types
// are those of the IANA registry and of the platforms that invented them; where
// there are several for one extension, the one the extension's mail library
// takes, so that an extension it does not know is application/octet-stream
// here too.
//
//go:embed mediatypes.txt
var mediaTypesFile string

// mediaTypes tells media types by file names, and the other way round. It does
// not depend on the machine.
type mediaTypes struct {
	byExtension map[string]string
	extensions  map[string]string
}

func parseMediaTypes(file string) mediaTypes {
	t := mediaTypes{byExtension: make(map[string]string, 256), extensions: make(map[string]string, 256)}
	for line := range strings.Lines(file) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] == "#" {
			continue
		}
		if fields[1] != "-" {
			t.extensions[fields[0]] = fields[1]
		}
		for _, e := range fields[2:] {
			t.byExtension[e] = fields[0]
		}
	}
	return t
}

// byName returns the media type of a file by its name, path or URL: by its
// extension, or by the whole name if it has none.
func (t mediaTypes) byName(name string) string {
	name = strings.TrimRight(name, "/")
	name = name[strings.LastIndexByte(name, '/')+1:]
	extension := name
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		if extension = name[dot+1:]; extension == "" {
			extension = name[:dot]
		}
	}
	extension, _, _ = strings.Cut(extension, "?")
	if contentType, ok := t.byExtension[strings.ToLower(trimSpace(extension))]; ok {
		return contentType
	}
	return "application/octet-stream"
}

// extension returns the extension for a media type without parameters.
func (t mediaTypes) extension(contentType string) string {
	contentType = strings.ToLower(trimSpace(contentType))
	if e, ok := t.extensions[contentType]; ok {
		return e
	}
	if strings.HasPrefix(contentType, "text/") {
		return "txt"
	}
	return "bin"
}
