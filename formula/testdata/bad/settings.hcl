ware "base" { builtin = "toolbox" }

step "a" {
  inputs  = { "/" = ware.base }
  exec    = ["true"]
  timeout = "10" # ERROR: Invalid timeout
  cwd     = "x"  # ERROR: Invalid working directory
  user    = "me" # ERROR: Invalid user
}

step "b" {
  inputs  = { "/" = ware.base }
  exec    = ["true"]
  timeout = "-5s"   # ERROR: Invalid timeout
  cwd     = null    # ERROR: Null value
  user    = "1:2:3" # ERROR: Invalid user
}

step "c" {
  inputs  = { "/" = ware.base }
  exec    = ["true"]
  timeout = ["1m"]       # ERROR: Wrong type
  user    = "4294967295" # ERROR: Invalid user
}

step "d" {
  inputs  = { "/" = ware.base }
  exec    = ["true"]
  timeout = "0s" # ERROR: Invalid timeout
  user    = -1   # ERROR: Invalid user
}
