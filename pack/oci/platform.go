package oci

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// HostPlatform is the platform of this machine, such as linux/amd64.
func HostPlatform() string { return "linux/" + runtime.GOARCH }

// parsePlatform reads OS/ARCHITECTURE[/VARIANT].
func parsePlatform(s string) (v1.Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return v1.Platform{}, fmt.Errorf("platform %q: want OS/ARCHITECTURE, such as linux/arm64, or OS/ARCHITECTURE/VARIANT", s)
	}
	p := v1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// variants are those that images often leave out, as containerd takes them.
var variants = map[string]string{"arm": "v7", "arm64": "v8", "amd64": "v1"}

// plainPlatform is p in the form to compare.
func plainPlatform(p v1.Platform) v1.Platform {
	if p.Variant == "" {
		p.Variant = variants[p.Architecture]
	}
	return v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

func platformOf(p *v1.Platform) string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return ""
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// choose picks the manifest for a platform out of an index. One that is marked with
// no platform will do if it is the only one.
func choose(index *v1.Index, platform string) (v1.Descriptor, error) {
	want, err := parsePlatform(platform)
	if err != nil {
		return v1.Descriptor{}, err
	}
	want = plainPlatform(want)
	var has []string
	var unmarked []v1.Descriptor
	for _, d := range index.Manifests {
		name := platformOf(d.Platform)
		switch {
		case d.ArtifactType != "" || name == "unknown/unknown":
			continue // signatures, attestations
		case name == "":
			unmarked = append(unmarked, d)
		case samePlatform(plainPlatform(*d.Platform), want):
			return d, nil
		case !slices.Contains(has, name):
			has = append(has, name)
		}
	}
	if len(has) == 0 && len(unmarked) == 1 {
		return unmarked[0], nil
	}
	switch {
	case len(has) == 0 && len(unmarked) == 0:
		return v1.Descriptor{}, fmt.Errorf("it is an index that lists no image")
	case len(has) == 0:
		return v1.Descriptor{}, fmt.Errorf("it is an index of %d images that do not say for which platform they are: name one by its digest", len(unmarked))
	}
	slices.Sort(has)
	return v1.Descriptor{}, fmt.Errorf("it has no image for %s; it has %s", platform, plain(strings.Join(has, ", ")))
}

func samePlatform(a, b v1.Platform) bool {
	return a.OS == b.OS && a.Architecture == b.Architecture && a.Variant == b.Variant
}
