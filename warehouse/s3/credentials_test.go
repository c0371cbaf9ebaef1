package s3

import (
	"fmt"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// services hands out credentials as Amazon's do, and counts who asks.
func services(t *testing.T) (addr string, asked *int) {
	t.Helper()
	asked = new(int)
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked++
		switch {
		case r.Method == http.MethodPost && r.FormValue("WebIdentityToken") == "jwt" && r.FormValue("RoleArn") == "arn:role":
			fmt.Fprintf(w, `<R xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
				`<AccessKeyId>web</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration>`+
				`</Credentials></AssumeRoleWithWebIdentityResult></R>`, expires)
		case r.URL.Path == "/container" && r.Header.Get("Authorization") == "Bearer pod":
			fmt.Fprintf(w, `{"AccessKeyId":"container","SecretAccessKey":"s","Token":"t","Expiration":%q}`, expires)
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") != "":
			io.WriteString(w, "v2")
		case r.Header.Get("X-aws-ec2-metadata-token") != "v2":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/security-credentials/"):
			io.WriteString(w, "builder")
		case strings.HasSuffix(r.URL.Path, "/security-credentials/builder"):
			fmt.Fprintf(w, `{"Code":"Success","AccessKeyId":"machine","SecretAccessKey":"s","Token":"t","Expiration":%q}`, expires)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	instanceHost = server.URL
	t.Cleanup(func() { instanceHost = "http://169.254.169.254" })
	return server.URL, asked
}

const config = `# shared
[default]
region = eu-west-1
[profile "team"]
aws_access_key_id = in-config
aws_secret_access_key = s
s3 =
  endpoint_url = nothing of ours
[profile program]
credential_process = printf '{"Version":1,"AccessKeyId":"program","SecretAccessKey":"s"}'
[profile broken]
credential_process = echo sesame; echo no luck >&2; exit 3
[profile chatty]
credential_process = echo sesame
[profile sso]
sso_session = work
[sso-session work]
aws_access_key_id = nobodys
[profile role]
role_arn = arn:role
web_identity_token_file = TOKEN
[profile empty]
`

const shared = `[default]
aws_access_key_id=in-file
aws_secret_access_key=s # what follows is not it
[team]
aws_access_key_id = in-credentials
`

func TestCredentials(t *testing.T) {
	alone(t)
	addr, asked := services(t)
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(home, "token")
	for path, text := range map[string]string{
		token: "jwt\n", filepath.Join(home, ".aws/config"): strings.Replace(config, "TOKEN", token, 1),
		filepath.Join(home, ".aws/credentials"): shared, filepath.Join(home, "none"): "",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := func(pairs ...string) []string { return pairs }
	none := []string{"AWS_CONFIG_FILE", filepath.Join(home, "none"), "AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "none")}
	keys := env("AWS_ACCESS_KEY_ID", "environment", "AWS_SECRET_ACCESS_KEY", "s")
	for name, tt := range map[string]struct {
		env     []string
		query   string
		o       Options
		want    string // the access key
		problem string
		asks    int // services
	}{
		"given":                  {keys, "", Options{AccessKey: "given", SecretKey: "s"}, "given", "", 0},
		"environment":            {keys, "", Options{}, "environment", "", 0},
		"a profile named":        {keys, "profile=team", Options{}, "in-credentials", "", 0},
		"a profile configured":   {keys, "", Options{Profile: "team"}, "in-credentials", "", 0},
		"a profile of the shell": {env("AWS_PROFILE", "team"), "", Options{}, "in-credentials", "", 0},
		"default":                {nil, "", Options{}, "in-file", "", 0},
		"a program":              {nil, "profile=program", Options{}, "program", "", 0},
		"a program fails":        {nil, "profile=broken", Options{}, "", "no luck", 0},
		"a program chats":        {nil, "profile=chatty", Options{}, "", "not JSON", 0},
		"sso":                    {nil, "profile=sso", Options{}, "", "export-credentials --profile sso", 0},
		"no such profile":        {nil, "profile=x", Options{}, "", "no such profile", 0},
		"an empty profile":       {nil, "profile=empty", Options{}, "", "no credentials", 0},
		"a pod's role":           {env("AWS_WEB_IDENTITY_TOKEN_FILE", token, "AWS_ROLE_ARN", "arn:role", "AWS_ENDPOINT_URL_STS", addr), "", Options{}, "web", "", 1},
		"a profile's role":       {env("AWS_ENDPOINT_URL_STS", addr), "profile=role", Options{}, "web", "", 1},
		"a container": {append(none, "AWS_CONTAINER_CREDENTIALS_FULL_URI", addr+"/container", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer pod"),
			"", Options{}, "container", "", 1},
		"a container elsewhere": {append(none, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.org/"), "", Options{}, "", "not this machine", 0},
		"a machine":             {keys, "credentials=imds", Options{}, "machine", "", 3},
		"nobody":                {none, "", Options{}, "", "", 0},
		"nobody, on purpose":    {keys, "credentials=none", Options{}, "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			for i := 0; i < len(tt.env); i += 2 {
				t.Setenv(tt.env[i], tt.env[i+1])
			}
			*asked = 0
			b := open(t, "ca+s3://wares?"+tt.query, tt.o)
			for range 2 { // the second is from memory
				found, err := b.creds.get(t.Context())
				if tt.problem == "" && err != nil || tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)) {
					t.Fatalf("%v, want %q", err, tt.problem)
				}
				if err != nil && strings.Contains(err.Error(), "sesame") {
					t.Errorf("a secret is in %v", err)
				}
				if found.AccessKeyID != tt.want || tt.want != "" && found.SecretKey != "s" || *asked != tt.asks {
					t.Errorf("the access key is %q of %s after %d questions, want %q after %d", found.AccessKeyID, found.Source, *asked, tt.want, tt.asks)
				}
			}
		})
	}
}

// TestExpired has credentials end while they are used.
func TestExpired(t *testing.T) {
	alone(t)
	addr, asked := services(t)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", addr+"/container")
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer pod")
	requests := 0
	b := served(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests == 1 {
			fail(w, 400, "ExpiredToken", "")
			return
		}
		io.WriteString(w, "hello")
	})
	if got, _ := warehousetest.Read(t, b, ware, 0, ""); string(got) != "hello" || *asked != 2 {
		t.Errorf("read %q after asking %d times", got, *asked)
	}
	b.creds.found.Expires = time.Now().Add(time.Minute)
	if got, _ := warehousetest.Read(t, b, ware, 0, ""); string(got) != "hello" || *asked != 3 {
		t.Errorf("read %q after asking %d times", got, *asked)
	}
}
