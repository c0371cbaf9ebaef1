ware "a" {
  builtin = # ERROR: Invalid expression
}

step "s" {
  inputs = { "/" = ware.b }
  exec   = ["true"]
}
