package s3

import (
	"strings"
	"testing"
)

func TestURL(t *testing.T) {
	alone(t)
	const key = "aaa/bbb/hash"
	for raw, want := range map[string][2]string{
		"ca+s3://wares": {"ca+s3://wares?region=us-east-1", "https://wares.s3.us-east-1.amazonaws.com/" + key},
		"s3://wares/some/place/?region=eu-west-1":                  {"ca+s3://wares/some/place?region=eu-west-1", "https://wares.s3.eu-west-1.amazonaws.com/some/place/" + key},
		"ca+s3://my.wares/x?region=cn-north-1":                     {"ca+s3://my.wares/x?region=cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn/my.wares/x/" + key},
		"ca+s3://wares?region=eu-west-1&path_style=true":           {"ca+s3://wares?path_style=true&region=eu-west-1", "https://s3.eu-west-1.amazonaws.com/wares/" + key},
		"ca+s3://wares?endpoint=http://127.0.0.1:7070":             {"ca+s3://wares?endpoint=http://127.0.0.1:7070&region=us-east-1", "http://127.0.0.1:7070/wares/" + key},
		"ca+s3://wares?endpoint=https://s3.x.example&path_style=0": {"ca+s3://wares?endpoint=https://s3.x.example&path_style=false&region=us-east-1", "https://wares.s3.x.example/" + key},
		"ca+s3://wares/a b+c=d@é":                                  {"ca+s3://wares/a%20b+c=d@%C3%A9?region=us-east-1", "https://wares.s3.us-east-1.amazonaws.com/a%20b%2Bc%3Dd%40%C3%A9/" + key},
		"ca+s3://wares.s3.amazonaws.com/public/":                   {"ca+s3://wares.s3.amazonaws.com/public", "https://wares.s3.amazonaws.com/public/" + key},
		"ca+s3://localhost:9000/bucket":                            {"ca+s3://localhost:9000/bucket", "https://localhost:9000/bucket/" + key},
	} {
		b := open(t, raw, known())
		at := b.place.at(b.place.region, strings.TrimPrefix(b.place.prefix+"/"+key, "/"), nil).String()
		if b.String() != want[0] || at != want[1] {
			t.Errorf("%s is\n%s at %s, want\n%s at %s", raw, b, at, want[0], want[1])
		}
		if again := open(t, b.String(), known()); again.String() != b.String() {
			t.Errorf("%s is read as %s", b, again)
		}
	}
	for raw, want := range map[string]string{
		"ca+s3://key:sesame@wares":                 "do not belong into a URL",
		"ca+s3:///wares":                           "ca+s3://BUCKET/PREFIX",
		"ca+s3://wares?regoin=x":                   `unknown parameter "regoin"`,
		"ca+s3://wares?path_style=maybe":           "true or false",
		"ca+s3://wares?endpoint=127.0.0.1:7070":    "https://HOST",
		"ca+s3://wares?endpoint=http://a:sesame@x": "https://HOST",
		"ca+s3://wares?credentials=sesame":         "none or imds",
		"https://wares":                            "ca+s3://BUCKET/PREFIX",
		"ca+s3://wares\x7f":                        "broken",
	} {
		if _, err := Open(t.Context(), raw, Options{}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "key:sesame") {
			t.Errorf("%s: %v, want %s", raw, err, want)
		}
	}
}

func TestPartSize(t *testing.T) {
	b := &Bucket{o: Options{PartSize: defaultPart}}
	for _, size := range []int64{1, defaultPart + 1, maxParts * defaultPart, maxParts*defaultPart + 1, 5 << 40} {
		each := b.partSize(size)
		if n := (size + each - 1) / each; n > maxParts || each < defaultPart {
			t.Errorf("%d bytes: %d parts of %d", size, n, each)
		}
	}
}
