package warehouse

import (
	"net/url"
	"slices"
	"strings"
)

const (
	masked = "xxxxx"
	// longName is from where on a name without a password is taken for a token: those of
	// forges have 20 letters and more.
	longName = 20
)

// secretParameters are the parameters of URLs, in lower case, that let in who has them.
var secretParameters = []string{
	"access_token", "api_key", "apikey", "password", "private_token", "secret", "sig", "signature", "token",
	"x-amz-credential", "x-amz-security-token", "x-amz-signature", "x-goog-credential", "x-goog-signature",
}

// RedactURL returns the URL of a warehouse with xxxxx for what lets in who has it, for
// messages: a password, a token in the place of a name, a parameter that is a token or a
// signature. It also finds a password in what is no URL, such as USER:PASSWORD@HOST, and
// in a parameter.
func RedactURL(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Opaque != "" {
		return maskPassword(rawURL)
	}
	found := false
	if u.User != nil {
		name := u.User.Username()
		_, password := u.User.Password()
		switch {
		case password:
			u.User, found = url.UserPassword(name, masked), true
		case len(name) >= longName:
			u.User, found = url.User(masked), true
		}
	}
	if query, secret := maskParameters(u.Query()); secret {
		u.RawQuery, found = query.Encode(), true
	}
	if !found {
		return rawURL
	}
	return u.String()
}

func maskParameters(query url.Values) (url.Values, bool) {
	found := false
	for name, values := range query {
		for i, v := range values {
			if values[i] = maskPassword(v); slices.Contains(secretParameters, strings.ToLower(name)) {
				values[i] = masked
			}
			found = found || values[i] != v
		}
	}
	return query, found
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
	return text[:begin+colon+1] + masked + text[at:]
}
