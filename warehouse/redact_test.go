package warehouse

import "testing"

func TestRedactURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://wares.example/x@y":                  "https://wares.example/x@y",
		"https://kiln@wares.example":                 "https://kiln@wares.example",
		"https://kiln:sesame@wares.example":          "https://kiln:xxxxx@wares.example",
		"https://kiln:sesame@wares.example:port":     "https://kiln:xxxxx@wares.example:port",
		"https://kiln:ses/a:m@e@wares example":       "https://kiln:xxxxx@wares example",
		"kiln:sesame@wares.example:9092":             "kiln:xxxxx@wares.example:9092",
		"s3://b?endpoint=https://kiln:sesame@host":   "s3://b?endpoint=https%3A%2F%2Fkiln%3Axxxxx%40host",
		"s3://b?endpoint=https%3A//kiln:sesame%40h":  "s3://b?endpoint=https%3A%2F%2Fkiln%3Axxxxx%40h",
		"s3://b?region=eu-central-1&path_style=true": "s3://b?region=eu-central-1&path_style=true",
		"ca+s3://":                             "ca+s3://",
		"kiln:///srv/a b":                      "kiln:///srv/a b",
		"https://ghp_0123456789abcdef0123@h/x": "https://xxxxx@h/x",
		"https://h/x?Token=sesame&v=1":         "https://h/x?Token=xxxxx&v=1",
		"https://h/x?X-Amz-Signature=sesame":   "https://h/x?X-Amz-Signature=xxxxx",
		"https://h/x?token=xxxxx":              "https://h/x?token=xxxxx",
		"oci://registry.example/wares":         "oci://registry.example/wares",
	} {
		if got := RedactURL(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}
