ware "base" { builtin = "toolbox" }

variable "hidden" {
  default   = ["a"]
  sensitive = true
}

variable "hidden_inside" {
  default = "x"
  sensitive = true
}

step "list" {
  for_each = ["a", "b"] # ERROR: Invalid for_each
  inputs   = { "/" = ware.base }
  exec     = ["true"]
}

step "text" {
  for_each = "a" # ERROR: Invalid for_each
  inputs   = { "/" = ware.base }
  exec     = ["true"]
}

step "null" {
  for_each = null # ERROR: Invalid for_each
  inputs   = { "/" = ware.base }
  exec     = ["true"]
}

step "numbers" {
  for_each = toset([1, 2]) # ERROR: Invalid for_each
  inputs   = { "/" = ware.base }
  exec     = ["true"]
}

step "empty_key" {
  for_each = { "" = 1 } # ERROR: Invalid for_each
  inputs   = { "/" = ware.base }
  exec     = ["true"]
}

step "null_key" {
  for_each = toset(["a", null]) # ERROR: Invalid for_each
  inputs   = { "/" = ware.base }
  exec     = ["true"]
}

step "sensitive" {
  for_each = toset(var.hidden) # ERROR: Sensitive for_each
  inputs   = { "/" = ware.base }
  exec     = ["true"]
}

step "sensitive_key" {
  for_each = toset(["a", var.hidden_inside]) # ERROR: Sensitive for_each
  inputs   = { "/" = ware.base }
  exec     = ["true"]
}

step "unknown" {
  for_each = toset(local.nope) # ERROR: Unknown local
  inputs   = { "/" = ware.base }
  exec     = [each.key]
  outputs  = { out = "/out" }
}

step "follows" {
  for_each = step.unknown
  inputs   = { "/" = each.value.out, "/x" = step.unknown["a"].out }
  exec     = [each.key]
}

step "instances" {
  for_each = { a = "1m", b = "x", c = "y", d = "z", e = "w" }
  inputs   = { "/" = ware.base }
  exec     = ["true"]
  timeout  = each.value # ERROR: Invalid timeout # ERROR: Invalid timeout # ERROR: Invalid timeout
}
