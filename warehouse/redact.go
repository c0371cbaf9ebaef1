package warehouse

import (
	"net/url"
	"strings"
)

// RedactURL returns the URL of a warehouse with xxxxx for its password, for messages. It
// also finds one in what is no URL, such as USER:PASSWORD@HOST, and in a parameter.
func RedactURL(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Opaque != "" {
		return maskPassword(rawURL)
	}
	query, masked := u.Query(), false
	for _, values := range query {
		for i, v := range values {
			values[i] = maskPassword(v)
			masked = masked || values[i] != v
		}
	}
	if masked {
		u.RawQuery = query.Encode()
	}
	return u.Redacted()
}

// maskPassword replaces what stands between the first colon and the last @ of what could
// be the authority of a URL.
func maskPassword(text string) string {
	at := strings.LastIndexByte(text, '@')
	if at < 0 {
		return text
	}
	begin := 0
	if i := strings.Index(text[:at], "//"); i >= 0 {
		begin = i + len("//")
	}
	colon := strings.IndexByte(text[begin:at], ':')
	if colon < 0 {
		return text
	}
	return text[:begin+colon+1] + "xxxxx" + text[at:]
}
