ware "base" {
  builtin = "toolbox"
}

function "f" {
  inputs = { "/" = ware.base }
  exec   = ["a"]
}

call "a" { # ERROR: Cycle of references
  function = function.f
  input    = call.b.output
}

call "b" {
  function = function.f
  input    = [local.c]
}

locals {
  c = call.a.output
}
