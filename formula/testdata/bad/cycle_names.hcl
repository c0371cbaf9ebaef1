ware "base" { builtin = "toolbox" }

step "x" { # ERROR: Cycle of references
  inputs  = { "/" = ware.base }
  exec    = ["true"]
  outputs = { for n in keys(step.x) : n => "/${n}" }
}
