ware "base" { builtin = "toolbox" }

step "none" { # ERROR: Step without an action
  inputs = { "/" = ware.base }
}

step "both" {
  inputs = { "/" = ware.base }
  exec   = ["true"]
  script = ["true"] # ERROR: Step with two actions
}

step "both_turned" {
  inputs = { "/" = ware.base }
  script = ["true"]
  exec   = ["true"] # ERROR: Step with two actions
}

step "interpreter" {
  inputs      = { "/" = ware.base }
  exec        = ["true"]
  interpreter = "/bin/sh" # ERROR: Interpreter without a script
}

step "empty" {
  inputs = { "/" = ware.base }
  exec   = [] # ERROR: Empty command
}

step "empty_first" {
  inputs = { "/" = ware.base }
  exec   = [""] # ERROR: Empty command
}

step "empty_script" {
  inputs = { "/" = ware.base }
  script = [] # ERROR: Empty script
}

step "empty_interpreter" {
  inputs      = { "/" = ware.base }
  script      = ["true"]
  interpreter = [] # ERROR: Empty command
}

step "types" {
  inputs = { "/" = ware.base }
  exec   = "make all" # ERROR: Wrong type
}

step "elements" {
  inputs = { "/" = ware.base }
  exec   = ["true", null, ware.base, {}] # ERROR: Null value # ERROR: Wrong type # ERROR: Wrong type
}

step "whole" {
  inputs = { "/" = ware.base }
  exec   = concat(["true"], [ware.base]) # ERROR: Wrong type
}

step "null" {
  inputs = { "/" = ware.base }
  script = null # ERROR: Null value
}

step "script_types" {
  inputs      = { "/" = ware.base }
  script      = { a = "b" } # ERROR: Wrong type
  interpreter = 5           # ERROR: Wrong type
}
