package formula

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
)

// An ImageRef says where an image is: in a registry, an OCI layout or a docker archive.
type ImageRef struct {
	Layout  string // oci-layout: the directory, as written
	Archive string // docker-archive: the file, as written
	Name    string // of an image in a layout or archive: a tag, NAME:TAG or a digest; "" if there is but one

	Registry   string // HOST[:PORT]; docker.io where none is written
	Repository string
	Tag        string // latest, where neither a tag nor a digest is written
	Digest     string // ALGORITHM:HEX; wins over the tag
}

// The prefixes of images that are on this machine.
const (
	layoutPrefix  = "oci-layout:"
	archivePrefix = "docker-archive:"
)

// The grammar is that of docker and of the OCI distribution specification.
var (
	registryForm   = lazyregexp.New(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$`)
	repositoryForm = lazyregexp.New(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
)

// ParseImageRef reads [REGISTRY/]REPOSITORY[:TAG][@DIGEST], oci-layout:PATH[:TAG] or
// docker-archive:PATH[:NAME:TAG]. The error is a clause that says what is wrong.
func ParseImageRef(text string) (ImageRef, error) {
	if rest, ok := strings.CutPrefix(text, layoutPrefix); ok {
		path, name, err := localImage(rest)
		return ImageRef{Layout: path, Name: name}, err
	}
	if rest, ok := strings.CutPrefix(text, archivePrefix); ok {
		path, name, err := localImage(rest)
		return ImageRef{Archive: path, Name: name}, err
	}
	if rest, ok := strings.CutPrefix(text, "oci:"); ok {
		return ImageRef{}, fmt.Errorf("an OCI layout is written oci-layout:%s, and an image called oci docker.io/library/oci", rest)
	}
	if scheme, _, ok := strings.Cut(text, "://"); ok {
		return ImageRef{}, fmt.Errorf("a reference begins with the registry's name, without %s://", scheme)
	}
	return registryImage(text)
}

// localImage splits PATH[:NAME] and PATH@DIGEST.
func localImage(text string) (path, name string, err error) {
	path, name, named := strings.Cut(text, ":")
	if at, digest, ok := strings.Cut(text, "@"); ok && strings.HasPrefix(digest, "sha") {
		path, name, named = at, digest, true
		if !validDigest(digest) {
			return "", "", fmt.Errorf("%q is no digest, which is sha256: and 64 hexadecimal digits", digest)
		}
	}
	switch {
	case path == "":
		return "", "", errors.New("it names no path")
	case named && name == "":
		return "", "", errors.New("it ends with a colon and no tag")
	}
	return path, name, nil
}

func registryImage(text string) (r ImageRef, err error) {
	name, digest, hasDigest := strings.Cut(text, "@")
	if hasDigest && !validDigest(digest) {
		return r, fmt.Errorf("%q is no digest, which is sha256: and 64 hexadecimal digits", digest)
	}
	r.Digest = digest
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		r.Tag, name = name[i+1:], name[:i]
		if !validTag(r.Tag) {
			return r, fmt.Errorf("%q is no tag", r.Tag)
		}
	}
	r.Registry, r.Repository = "docker.io", name
	if host, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		r.Registry, r.Repository = host, rest
	}
	if r.Registry == "index.docker.io" {
		r.Registry = "docker.io"
	}
	if r.Registry == "docker.io" && !strings.Contains(r.Repository, "/") {
		r.Repository = "library/" + r.Repository
	}
	switch lower := strings.ToLower(r.Repository); {
	case !registryForm.MatchString(r.Registry):
		return r, fmt.Errorf("%q is no name of a registry, HOST or HOST:PORT", r.Registry)
	case !repositoryForm.MatchString(r.Repository) && repositoryForm.MatchString(lower):
		return r, errors.New("the names of repositories have no capital letters")
	case !repositoryForm.MatchString(r.Repository), len(r.Repository) > 255:
		return r, fmt.Errorf("%q is no name of a repository", name)
	case r.Tag == "" && !hasDigest:
		r.Tag = "latest"
	}
	return r, nil
}

func (s *scope) checkOCI(text string, at hcl.Range) bool {
	if _, err := ParseImageRef(text); err != nil {
		s.problem(at, "Invalid image reference", "%s names no image: %s. Write REGISTRY/REPOSITORY:TAG, oci-layout:PATH:TAG or docker-archive:PATH.", s.quote(text), err)
		return false
	}
	return true
}

// architectures are those that images are made for, as Go names them.
var architectures = []string{"386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"}

// otherNames are what else they are called.
var otherNames = map[string]string{"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386", "armhf": "arm/v7", "armv7": "arm/v7"}

var variantForm = lazyregexp.New(`^[a-z0-9.]+$`)

// platform reads what platform an image is for.
func (s *scope) platform(attr *hclsyntax.Attribute) string {
	if attr == nil {
		return ""
	}
	text, ok := s.text(attr.Expr, "platform")
	if !ok {
		return ""
	}
	at, parts := attr.Expr.Range(), strings.Split(text, "/")
	switch {
	case len(parts) < 2 || len(parts) > 3 || len(parts) == 3 && !variantForm.MatchString(parts[2]):
		s.problem(at, "Invalid platform", "%s is no platform. A platform is linux/ARCHITECTURE, such as linux/arm64, or linux/ARCHITECTURE/VARIANT.", s.quote(text))
	case parts[0] != "linux":
		s.problem(at, "Unsupported platform", "Steps run on linux, and this is an image for %s.", s.quote(parts[0]))
	case otherNames[parts[1]] != "":
		s.problem(at, "Unsupported platform", "Images call the architecture %s by another name: write \"linux/%s\".", s.quote(parts[1]), otherNames[parts[1]])
	case !slices.Contains(architectures, parts[1]):
		s.problem(at, "Unsupported platform", "There is no architecture %s.%s", s.quote(parts[1]), didYouMean(parts[1], architectures))
	}
	return text
}
