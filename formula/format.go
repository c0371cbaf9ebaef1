package formula

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// maxFormats bounds how often Format formats again what it has formatted: hclwrite
// needs a second pass where a first one moved a comment.
const maxFormats = 5

// Format returns src, a formula file, in the one style: indentation by two spaces,
// aligned equals signs, no space at the ends of lines, one newline at the end.
// Formatting the result changes nothing. A file that does not parse is returned as
// it is, with diagnostics whose ranges name filename.
func Format(filename string, src []byte) ([]byte, hcl.Diagnostics) {
	if _, _, diags := parse(src, filename); diags.HasErrors() {
		return src, diags
	}
	text := endWithNewline(src)
	for range maxFormats {
		formatted := endWithNewline(hclwrite.Format(text))
		if bytes.Equal(formatted, text) {
			break
		}
		text = formatted
	}
	return text, nil
}

func endWithNewline(text []byte) []byte {
	trimmed := bytes.TrimRight(text, "\n")
	if len(trimmed) == 0 {
		return nil
	}
	return append(bytes.Clone(trimmed), '\n')
}
