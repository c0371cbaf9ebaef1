ware "none" {} # ERROR: Ware without a source

ware "two" {
  path = "."
  url  = "https://example.org/a.tar" # ERROR: Ware with two sources
}

ware "belongs" {
  path   = "."
  sha256 = "0000000000000000000000000000000000000000000000000000000000000000" # ERROR: Attribute of another source
  strip  = 1 # ERROR: Attribute of another source
}

ware "sha" {
  url    = "https://example.org/a.tar"
  sha256 = "abc" # ERROR: Invalid sha256
  strip  = -1    # ERROR: Invalid strip
}

ware "strip" {
  url   = "https://example.org/a.tar"
  strip = "x" # ERROR: Invalid strip
}

ware "strip_null" {
  url   = "https://example.org/a.tar"
  strip = null # ERROR: Null value
}

ware "url" { url = "example.org/a.tar" } # ERROR: Invalid URL
ware "host" { url = "https:///a.tar" } # ERROR: Invalid URL
ware "parse" { url = "https://[::1" } # ERROR: Invalid URL
ware "ftp" { url = "ftp://example.org/a.tar" } # ERROR: Unsupported URL
ware "id" { id = "tree" } # ERROR: Invalid ware id
ware "idchar" { id = "tree:a/b" } # ERROR: Invalid ware id
ware "empty" { path = "" } # ERROR: Empty source
ware "null" { path = null } # ERROR: Null value
ware "type" { path = ["a"] } # ERROR: Wrong type
ware "ware" { path = ware.url } # ERROR: Wrong type

ware "patterns" {
  path    = "."
  include = ["a[b"] # ERROR: Invalid pattern
  exclude = "x"     # ERROR: Wrong type
  filters = 5       # ERROR: Wrong type
}

variable "secret" {
  default   = "hunter2"
  sensitive = true
}

ware "sensitive" { # ERROR: Sensitive ware source
  url = "https://example.org/${var.secret}"
}
