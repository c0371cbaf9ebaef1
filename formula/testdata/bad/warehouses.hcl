variable "token" {
  type      = string
  sensitive = true
  default   = "s3cret"
}

warehouse "path" {
  url = "/srv/wares" # ERROR: Invalid address
}

warehouse "secret" {
  url = "https://me:${var.token}@example.org/" # ERROR: Sensitive address
}

warehouse "empty" { # ERROR: Missing attribute
}

warehouse "push" {
  url  = "ca+https://example.org"
  push = "all" # ERROR: Unknown attribute
}

warehouse "number" {
  url = 7 # ERROR: Invalid address
}
