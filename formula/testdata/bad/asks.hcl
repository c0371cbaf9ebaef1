ware "base" { builtin = "toolbox" }

ware "addr" {
  id        = "tree:aa-1"
  addresses = ["example.org"] # ERROR: Invalid address
}

ware "cat" { catalog = "example.org/zlib:v1" } # ERROR: Invalid catalog reference

step "a" {
  inputs = {
    "/"  = { mount = "/srv", mode = "rw" } # ERROR: Invalid mode
    "/a" = { mount = "" }                  # ERROR: Invalid mount
    "/b" = { mount = null } # ERROR: Null value
    "/c" = { mount = "/srv", mode = "rx" } # ERROR: Invalid mode
    "/d" = { mount = "/srv", from = ware.base } # ERROR: Unknown attribute
    "/e" = { from = ware.base, filters = 1 } # ERROR: Wrong type
  }
  exec    = ["true"]
  network = "yes" # ERROR: Wrong type
}

step "b" {
  inputs   = { "/" = ware.base }
  exec     = ["true"]
  on_error = "continue" # ERROR: on_error without a script
}

step "c" {
  inputs   = { "/" = ware.base }
  script   = ["true"]
  on_error = "go" # ERROR: Invalid on_error
}

step "d" {
  inputs = { "/" = ware.base }
  script = ["true"]
  echo   = true # ERROR: Step with two actions
}

step "e" {
  inputs = { "/" = ware.base }
  echo   = false # ERROR: Step without an action
}
