locals {
  a = local.b
  b = local.c # ERROR: Cycle of references
  c = local.b
  d = local.d # ERROR: Cycle of references
}

ware "base" { builtin = "toolbox" }

step "x" { # ERROR: Cycle of steps
  inputs  = { "/" = ware.base, "/y" = step.y.out }
  exec    = ["true"]
  outputs = { out = "/out" }
}

step "y" {
  inputs     = { "/" = ware.base }
  exec       = ["true"]
  outputs    = { out = "/out" }
  depends_on = [step.z]
}

step "z" {
  inputs  = { "/" = ware.base, "/x" = step.x.out }
  exec    = ["true"]
  outputs = { out = "/out" }
}

step "self" { # ERROR: Cycle of steps
  inputs  = { "/" = ware.base, "/x" = step.self.out }
  exec    = ["true"]
  outputs = { out = "/out" }
}

step "after" {
  inputs = { "/" = ware.base, "/x" = step.x.out }
  exec   = ["true"]
}

step "p" { # ERROR: Cycle of references
  for_each = toset(keys(step.q))
  inputs   = { "/" = ware.base }
  exec     = ["true"]
}

step "q" {
  for_each = toset(keys(step.p))
  inputs   = { "/" = ware.base }
  exec     = ["true"]
}

variable "v" {
  default = local.a # ERROR: Reference in a default
}
