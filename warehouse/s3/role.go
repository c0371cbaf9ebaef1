package s3

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/internal/retry"
	warehousehttp "github.com/kilnbuild/kiln/warehouse/http"
)

// The services that hand out credentials. Variables for tests.
var (
	containerHost = "http://169.254.170.2" // of Amazon's containers
	instanceHost  = "http://169.254.169.254"
)

// instanceTime is how long the metadata service may take: it is on the same machine.
const instanceTime = 2 * time.Second

// webIdentity trades the token in a file for credentials of a role, as pods and CI jobs
// do.
func (c *chain) webIdentity(ctx context.Context, file, role, session string) (credentials, error) {
	token, err := os.ReadFile(file)
	if err != nil {
		return credentials{}, err
	}
	host := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_STS"), "https://sts."+cmp.Or(c.place.region, defaultRegion)+".amazonaws.com")
	form := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {role},
		"RoleSessionName": {cmp.Or(session, "kiln")}, "WebIdentityToken": {strings.TrimSpace(string(token))}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, host, strings.NewReader(form.Encode()))
	if err != nil {
		return credentials{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	data, err := c.ask(ctx, req)
	if err != nil {
		return credentials{}, fmt.Errorf("role %s for the token in %s: %w", role, file, err)
	}
	var a struct {
		Found struct {
			AccessKeyId, SecretAccessKey, SessionToken string
			Expiration                                 time.Time
		} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if err := xml.Unmarshal(data, &a); err != nil || a.Found.AccessKeyId == "" {
		return credentials{}, fmt.Errorf("role %s: the answer of %s holds no credentials", role, host)
	}
	return credentials{a.Found.AccessKeyId, a.Found.SecretAccessKey, a.Found.SessionToken, a.Found.Expiration, "role " + role}, nil
}

// container asks the service that a container's environment names; nobody's, if it
// names none.
func (c *chain) container(ctx context.Context) (credentials, error) {
	at := os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if rel := os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); rel != "" {
		at = containerHost + rel
	}
	if at == "" {
		return credentials{}, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return credentials{}, errors.New("AWS_CONTAINER_CREDENTIALS_FULL_URI is no URL")
	}
	// 169.254.170.23 and [fd00:ec2::23] are EKS's
	if h := req.URL.Hostname(); req.URL.Scheme != "https" && !loopback.Is(h) && h != "169.254.170.2" && h != "169.254.170.23" && h != "fd00:ec2::23" {
		return credentials{}, fmt.Errorf("AWS_CONTAINER_CREDENTIALS_FULL_URI leads by plain http to %s, which is not this machine", h)
	}
	token := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if file := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return credentials{}, err
		}
		token = strings.TrimSpace(string(data))
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	return c.answer(ctx, req, "this container's role")
}

// instance asks the metadata service of a virtual machine, by its second version.
func (c *chain) instance(ctx context.Context) (credentials, error) {
	get := func(method, path, token string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, instanceTime)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, instanceHost+path, nil)
		if err != nil {
			return nil, err
		}
		if token == "" {
			req.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "300")
		} else {
			req.Header.Set("X-aws-ec2-metadata-token", token)
		}
		return c.ask(ctx, req)
	}
	const roles = "/latest/meta-data/iam/security-credentials/"
	token, err := get(http.MethodPut, "/latest/api/token", "")
	if err != nil {
		return credentials{}, fmt.Errorf("the machine's metadata service: %w", err)
	}
	role, err := get(http.MethodGet, roles, string(token))
	if err != nil {
		return credentials{}, fmt.Errorf("the machine's metadata service has no role for it: %w", err)
	}
	name, _, _ := strings.Cut(string(role), "\n")
	data, err := get(http.MethodGet, roles+url.PathEscape(name), string(token))
	if err != nil {
		return credentials{}, fmt.Errorf("the machine's role %s: %w", name, err)
	}
	found, err := parseAnswer(data)
	found.Source = "this machine's role " + name
	return found, err
}

func (c *chain) answer(ctx context.Context, req *http.Request, source string) (credentials, error) {
	data, err := c.ask(ctx, req)
	if err != nil {
		return credentials{}, fmt.Errorf("%s: %w", source, err)
	}
	found, err := parseAnswer(data)
	found.Source = source
	return found, err
}

// ask sends a request that holds a secret, or whose answer does: to nobody else than it
// was made for.
func (c *chain) ask(ctx context.Context, req *http.Request) (data []byte, err error) {
	client := *c.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	err = c.o.Retry.Do(ctx, func() error {
		r := req.Clone(ctx)
		if req.GetBody != nil {
			r.Body, _ = req.GetBody()
		}
		resp, err := client.Do(r)
		if err != nil {
			return warehousehttp.WithoutURL(err)
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return retry.Answer(resp, fmt.Errorf("%s answered %s", req.URL.Host, resp.Status))
		}
		defer resp.Body.Close()
		data, err = io.ReadAll(io.LimitReader(resp.Body, maxFault))
		return err
	})
	return data, err
}
