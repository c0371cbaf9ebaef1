ware "base" { builtin = "toolbox" }

ware "base" { path = "." } # ERROR: Duplicate name

step "s" {
  inputs  = { "/" = ware.base }
  exec    = ["true"]
  outputs = { out = "/out", out = "/else" } # ERROR: Duplicate name
}

step "s" { # ERROR: Duplicate name
  exec = ["true"]
}

locals {
  a = 1
}

locals {
  a = 2 # ERROR: Duplicate name
}

variable "v" { default = 1 }
variable "v" { default = 2 } # ERROR: Duplicate name
output "o" { value = step.s.out }
output "o" { value = ware.base } # ERROR: Duplicate name
