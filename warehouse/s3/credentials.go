package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
)

// credentials are a person's or a machine's. Their Source may be told; all else not.
type credentials struct {
	AccessKeyID string // "": nobody's
	SecretKey   string
	Token       string
	Expires     time.Time // zero: never
	Source      string    // "the environment", "profile x of ~/.aws/credentials"
}

func (c credentials) who() string {
	if c.AccessKeyID == "" {
		return "nobody in particular, which is who kiln was here,"
	}
	return "the access key of " + c.Source
}

// A chain finds credentials where AWS's own tools look, in their order: what was given,
// a named profile, the environment, a role of a token file, the shared files, and what
// a container's environment names. The metadata service of a virtual machine is asked
// only where the URL says so: other machines would wait for its silence.
type chain struct {
	place  place
	o      Options
	client *http.Client

	mu    sync.Mutex
	found *credentials
}

// early is how long before their end credentials are replaced: longer than a part takes.
const early = 5 * time.Minute

func (c *chain) get(ctx context.Context) (credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found != nil && (c.found.Expires.IsZero() || time.Until(c.found.Expires) > early) {
		return *c.found, nil
	}
	found, err := c.find(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return credentials{}, context.Cause(ctx)
		}
		return credentials{}, retry.Final(fmt.Errorf("credentials for S3: %w", err))
	}
	c.found = &found
	return found, nil
}

// renew forgets credentials that have an end, and reports whether there were any.
func (c *chain) renew() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.found != nil && !c.found.Expires.IsZero()
	if had {
		c.found = nil
	}
	return had
}

func (c *chain) find(ctx context.Context) (credentials, error) {
	switch {
	case c.place.creds == credsNone:
		return credentials{}, nil
	case c.place.creds == credsIMDS:
		return c.instance(ctx)
	case c.o.AccessKey != "":
		return credentials{AccessKeyID: c.o.AccessKey, SecretKey: c.o.SecretKey, Token: c.o.Token, Source: "the configuration"}, nil
	case c.place.profile != "":
		return c.ofProfile(ctx, c.place.profile, true)
	}
	if key, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"); key != "" && secret != "" {
		return credentials{AccessKeyID: key, SecretKey: secret, Token: os.Getenv("AWS_SESSION_TOKEN"), Source: "the environment (AWS_ACCESS_KEY_ID)"}, nil
	}
	if file, role := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"), os.Getenv("AWS_ROLE_ARN"); file != "" && role != "" {
		return c.webIdentity(ctx, file, role, os.Getenv("AWS_ROLE_SESSION_NAME"))
	}
	named := os.Getenv("AWS_PROFILE")
	found, err := c.ofProfile(ctx, cmp.Or(named, "default"), named != "")
	if err != nil || found.AccessKeyID != "" {
		return found, err
	}
	return c.container(ctx)
}

// complete adds to p what the environment and the shared files say of where S3 is.
func (c *chain) complete(p place) place {
	if p.base != "" {
		return p
	}
	files := sharedFiles()
	profile := files.profile(cmp.Or(p.profile, os.Getenv("AWS_PROFILE"), "default"))
	if p.endpoint == "" {
		from := place{}
		endpoint := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), profile["endpoint_url"])
		if endpoint != "" && from.options(map[string][]string{"endpoint": {endpoint}}) == nil {
			p.endpoint = from.endpoint
		}
	}
	if p.region == "" {
		p.region = cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), profile["region"], defaultRegion)
	}
	return p
}

var errNoProfile = errors.New("there is no such profile")

// ofProfile returns the credentials of a profile of the shared files; nobody's, if it
// need not be there and has none.
func (c *chain) ofProfile(ctx context.Context, name string, needed bool) (credentials, error) {
	files := sharedFiles()
	p := files.profile(name)
	source := fmt.Sprintf("profile %s of %s", name, files)
	wrong := func(err error) (credentials, error) { return credentials{}, fmt.Errorf("%s: %w", source, err) }
	switch {
	case files.err != nil:
		return wrong(files.err)
	case p == nil && needed:
		return wrong(errNoProfile)
	case p["aws_access_key_id"] != "" && p["aws_secret_access_key"] != "":
		return credentials{AccessKeyID: p["aws_access_key_id"], SecretKey: p["aws_secret_access_key"], Token: p["aws_session_token"], Source: source}, nil
	case p["credential_process"] != "":
		found, err := runProcess(ctx, p["credential_process"])
		if err != nil {
			return wrong(err)
		}
		found.Source = source
		return found, nil
	case p["role_arn"] != "" && p["web_identity_token_file"] != "":
		return c.webIdentity(ctx, p["web_identity_token_file"], p["role_arn"], p["role_session_name"])
	case p["sso_session"] != "" || p["sso_start_url"] != "" || p["role_arn"] != "" || p["login_session"] != "":
		return wrong(fmt.Errorf("kiln leaves this kind of log-in to AWS's own tool: add a profile with credential_process = aws configure export-credentials --profile %s, and name that one", name))
	case needed:
		return wrong(errors.New("it has no credentials"))
	}
	return credentials{}, nil
}
