ware "scheme" { oci = "docker://gcc:14" } # ERROR: Invalid image reference
ware "layout" { oci = "oci:dir:tag" } # ERROR: Invalid image reference
ware "capital" { oci = "docker.io/library/GCC" } # ERROR: Invalid image reference
ware "tag" { oci = "gcc:" } # ERROR: Invalid image reference
ware "digest" { oci = "gcc@sha256:12" } # ERROR: Invalid image reference
ware "host" { oci = "-a.example.org/gcc" } # ERROR: Invalid image reference
ware "path" { oci = "oci-layout:" } # ERROR: Invalid image reference
ware "colon" { oci = "docker-archive:a.tar:" } # ERROR: Invalid image reference
ware "empty" { oci = "" } # ERROR: Empty source
ware "type" { oci = ["gcc"] } # ERROR: Wrong type

ware "form" {
  oci      = "gcc:14"
  platform = "amd64" # ERROR: Invalid platform
}

ware "os" {
  oci      = "gcc:14"
  platform = "windows/amd64" # ERROR: Unsupported platform
}

ware "other_name" {
  oci      = "gcc:14"
  platform = "linux/aarch64" # ERROR: Unsupported platform
}

ware "architecture" {
  oci      = "gcc:14"
  platform = "linux/amd46" # ERROR: Unsupported platform
}

ware "platform_type" {
  oci      = "gcc:14"
  platform = ["linux/arm64"] # ERROR: Wrong type
}

ware "belongs" {
  path     = "."
  platform = "linux/arm64" # ERROR: Attribute of another source
}

ware "belongs_too" {
  oci    = "gcc:14"
  strip  = 1 # ERROR: Attribute of another source
  ref    = "v1" # ERROR: Attribute of another source
  sha256 = "0000000000000000000000000000000000000000000000000000000000000000" # ERROR: Attribute of another source
}

ware "two" {
  oci = "gcc:14"
  git = "." # ERROR: Ware with two sources
}
