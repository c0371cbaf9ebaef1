package s3

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A place is what a URL says of where objects are.
type place struct {
	bucket   string // "": part of base, whose requests nobody can tell the bucket of
	prefix   string // without slashes at its ends
	base     string // SCHEME://HOST/PATH that stands before prefix; "": made of the region, see at
	endpoint string // SCHEME://HOST, if it was said
	region   string // "": not said
	style    string // of the requests: path, host, or "" for what is usual
	profile  string
	creds    string // where credentials come from: "", none or imds
}

// parse reads one of these:
//
//	ca+s3://BUCKET/PREFIX?endpoint=URL&region=R&path_style=BOOL&profile=P&credentials=none|imds
//	ca+s3://HOST/PATH    a HOST with a dot or a port, and no endpoint and no region: https://HOST/PATH
//
// The second form is warpforge's. "s3" and "ca+s3" mean the same.
func parse(rawURL string) (place, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return place{}, fmt.Errorf("the URL of an S3 warehouse is broken: %w", err.(*url.Error).Err)
	}
	if u.Scheme != "s3" && u.Scheme != "ca+s3" || u.Host == "" || u.Fragment != "" {
		return place{}, fmt.Errorf("an S3 warehouse has the URL ca+s3://BUCKET/PREFIX")
	}
	if u.User != nil {
		return place{}, fmt.Errorf("ca+s3://%s%s: credentials do not belong into a URL: name them in config.hcl, or use AWS's environment and files", u.Host, u.Path)
	}
	p := place{bucket: u.Host, prefix: strings.Trim(u.Path, "/")}
	q := u.Query()
	if err := p.options(q); err != nil {
		return place{}, fmt.Errorf("%s://%s%s: %w", u.Scheme, u.Host, u.Path, err)
	}
	if strings.ContainsAny(u.Host, ".:") && !q.Has("endpoint") && !q.Has("region") {
		p.bucket, p.base = "", "https://"+u.Host
		if p.creds == "" && p.profile == "" {
			p.creds = credsNone // whoever this host is, the environment's credentials are not for it
		}
	}
	return p, nil
}

const (
	credsNone = "none"
	credsIMDS = "imds"
	pathStyle = "path"
	hostStyle = "host"
)

func (p *place) options(q url.Values) error {
	for _, key := range slices.Sorted(maps.Keys(q)) {
		value := q.Get(key)
		switch key {
		case "endpoint":
			u, err := url.Parse(value)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
				return fmt.Errorf("endpoint has the form https://HOST, or http://HOST for a server that is as near as to need no encryption")
			}
			p.endpoint = u.Scheme + "://" + u.Host
		case "region":
			p.region = value
		case "path_style":
			yes, err := strconv.ParseBool(value)
			if err != nil {
				return fmt.Errorf("path_style is true or false, not %q", value)
			}
			p.style = hostStyle
			if yes {
				p.style = pathStyle
			}
		case "profile":
			p.profile = value
		case "credentials":
			if value != credsNone && value != credsIMDS {
				return fmt.Errorf("credentials is none or imds, not %q; leave it out for AWS's environment and files", value)
			}
			p.creds = value
		default:
			return fmt.Errorf("unknown parameter %q: there are credentials, endpoint, path_style, profile and region", key)
		}
	}
	return nil
}

// String returns the URL that leads to p.
func (p place) String() string {
	host := p.bucket
	if host == "" {
		host = strings.TrimPrefix(p.base, "https://")
	}
	q := url.Values{}
	set := func(key, value string) {
		if value != "" {
			q.Set(key, value)
		}
	}
	set("endpoint", p.endpoint)
	set("region", p.region)
	set("profile", p.profile)
	if p.bucket != "" || p.creds == credsIMDS {
		set("credentials", p.creds)
	}
	if p.style != "" {
		q.Set("path_style", strconv.FormatBool(p.style == pathStyle))
	}
	query := strings.NewReplacer("%3A", ":", "%2F", "/").Replace(q.Encode()) // which need no escape there
	u := url.URL{Scheme: "ca+s3", Host: host, RawQuery: query}
	if p.prefix != "" {
		u.Path = "/" + p.prefix
	}
	return u.String()
}

// at returns the URL of a key, which begins with no slash, in a region.
func (p place) at(region, key string, query url.Values) *url.URL {
	base := p.base
	if base == "" {
		base = p.bucketURL(region)
	}
	u, err := url.Parse(base)
	if err != nil {
		panic(err) // parse made it
	}
	// AWS signs what is escaped as RFC 3986 has it, which is more than Go escapes.
	u.Path += "/" + key
	u.RawPath = escape(u.Path)
	u.RawQuery = query.Encode()
	return u
}

func (p place) bucketURL(region string) string {
	endpoint, style := p.endpoint, p.style
	if endpoint == "" {
		endpoint = "https://s3." + region + ".amazonaws.com"
		if strings.HasPrefix(region, "cn-") {
			endpoint += ".cn"
		}
		if style == "" && !strings.Contains(p.bucket, ".") { // which certificates do not cover
			style = hostStyle
		}
	}
	if style != hostStyle {
		return endpoint + "/" + p.bucket
	}
	scheme, host, _ := strings.Cut(endpoint, "://")
	return scheme + "://" + p.bucket + "." + host
}

func escape(path string) string {
	const plain = "-._~/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var b strings.Builder
	for _, c := range []byte(path) {
		if strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
