package s3

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
)

// A fault is an answer that is no success. What else S3 puts into one, such as the key
// and what was signed, is not kept.
type fault struct {
	Code    string // as S3 names it; of an answer without a body, what its status stands for
	Message string
	Region  string // where the server says that the bucket is

	status int
	region string        // that was asked for
	skew   time.Duration // of the server's clock before this one
}

const maxFault = 64 << 10 // bytes of an answer that are read for what went wrong

// readFault reads what a server says of why, and closes the answer.
func readFault(resp *http.Response) *fault {
	defer resp.Body.Close()
	f := &fault{}
	if data, err := io.ReadAll(io.LimitReader(resp.Body, maxFault)); err != nil || xml.Unmarshal(data, f) != nil {
		f = &fault{}
	}
	f.status = resp.StatusCode
	if region := resp.Header.Get("X-Amz-Bucket-Region"); region != "" {
		f.Region = region
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		f.skew = time.Until(date)
	}
	if f.Code == "" {
		f.Code = codeOf[f.status]
	}
	return f
}

// codeOf gives what answers to HEAD, which have no body, mean.
var codeOf = map[int]string{
	http.StatusForbidden: "AccessDenied", http.StatusUnauthorized: "AccessDenied",
	http.StatusNotFound: "NoSuchKey", http.StatusMethodNotAllowed: "MethodNotAllowed",
}

func (f *fault) Error() string {
	text := fmt.Sprintf("the server answered %d %s", f.status, http.StatusText(f.status))
	if f.Code != "" {
		text += ", " + printable(f.Code)
	}
	if f.Message != "" {
		text += fmt.Sprintf(" (%q)", printable(f.Message))
	}
	return text
}

// printable cuts what a server wrote to what fits into a line.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}

// missing reports whether f says that there is no such object. Who may not list a
// bucket is told that access is denied; for what everybody may read, that is the same.
func (b *Bucket) missing(f *fault, anonymous bool) bool {
	return f.Code == "NoSuchKey" || f.Code == "AccessDenied" && anonymous
}

// explain names in err the place and the key, and says what may help.
func (b *Bucket) explain(ctx context.Context, r request, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	text := fmt.Errorf("%s, key %s: %w", b.where(), r.key, err)
	f := asFault(err)
	if f == nil {
		return text
	}
	creds, _ := b.creds.get(ctx)
	reading := r.method == http.MethodGet || r.method == http.MethodHead
	switch anonymous := creds.AccessKeyID == ""; {
	case reading && b.missing(f, anonymous):
		return &warehouse.MissingError{What: b.where() + ", key " + r.key, Reason: reason(f)}
	case !reading && (f.Code == "AccessDenied" || f.Code == "MethodNotAllowed"):
		return readOnlyError{fmt.Errorf("%w; %s may not write there%s", text, creds.who(), needs(anonymous, "s3:PutObject and s3:AbortMultipartUpload"))}
	case f.Code == "AccessDenied":
		return fmt.Errorf("%w; %s may not read there, or not list, which S3 wants for saying that a key is missing%s",
			text, creds.who(), needs(anonymous, "s3:GetObject and s3:ListBucket"))
	}
	if hint := b.hint(f, creds); hint != "" {
		return fmt.Errorf("%w; %s", text, hint)
	}
	return text
}

func reason(f *fault) error {
	if f.Code == "NoSuchKey" {
		return nil
	}
	return fmt.Errorf("%w; it is missing, or not for everybody", f)
}

func needs(anonymous bool, actions string) string {
	if anonymous {
		return ": give credentials (docs/warehouses.md says where)"
	}
	return ": it takes " + actions
}

// hint says what may help against faults that are about the set-up.
func (b *Bucket) hint(f *fault, creds credentials) string {
	switch f.Code {
	case "NoSuchBucket":
		return "make the bucket, or correct its name in the warehouse's URL; kiln makes none"
	case "SignatureDoesNotMatch":
		return "the secret key is not that of the access key, or a proxy changes requests: look at " + creds.Source
	case "InvalidAccessKeyId":
		return "the server does not know the access key of " + creds.Source
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken":
		return "the session token of " + creds.Source + " has ended: log in again"
	case "RequestTimeTooSkewed":
		return fmt.Sprintf("its clock is %s off this machine's: set the clock", f.skew.Abs().Round(time.Second))
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return fmt.Sprintf("it was asked for in the region %s: name the bucket's with ?region= in the warehouse's URL", f.region)
	case "XAmzContentSHA256Mismatch", "BadDigest":
		return "what arrived is not what was sent, or the ware changed on disk"
	}
	return ""
}

// where names the place in errors.
func (b *Bucket) where() string {
	region, _ := b.known()
	u := b.place.at(region, "", nil)
	if b.place.bucket == "" {
		return "S3 at " + u.Host
	}
	return fmt.Sprintf("S3 at %s://%s, bucket %s", u.Scheme, strings.TrimPrefix(u.Host, b.place.bucket+"."), b.place.bucket)
}

// readOnlyError is an error about a place that takes nothing.
type readOnlyError struct{ error }

func (e readOnlyError) Unwrap() error        { return e.error }
func (e readOnlyError) Is(target error) bool { return target == warehouse.ErrReadOnly }
