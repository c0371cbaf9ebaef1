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

step "resources" {
  inputs = { "/" = ware.base }
  exec   = ["true"]
  runner = "My Cluster" # ERROR: Invalid runner
  resources = {
    cpus   = 0     # ERROR: Invalid amount
    memory = "1GB" # ERROR: Invalid amount of memory
    pids   = 1.5   # ERROR: Invalid amount
    disk   = 1     # ERROR: Unknown attribute
    requests = {
      cpus = "two" # ERROR: Wrong type
    }
  }
}

step "requests" {
  inputs    = { "/" = ware.base }
  exec      = ["true"]
  resources = { cpus = 1, requests = { cpus = 2 } } # ERROR: More requested than allowed
}

step "amounts" {
  inputs    = { "/" = ware.base }
  exec      = ["true"]
  resources = "much" # ERROR: Wrong type
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
