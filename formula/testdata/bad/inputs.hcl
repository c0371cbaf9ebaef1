ware "base" { builtin = "toolbox" }

step "ports" {
  inputs = {
    "/"        = ware.base
    "/a"       = ware.base
    "/a/"      = ware.base # ERROR: Two inputs at one port
    "/b/../a"  = ware.base # ERROR: Two inputs at one port
    "rel"      = ware.base # ERROR: Invalid port
    ""         = ware.base # ERROR: Invalid port
    "/proc"    = ware.base # ERROR: Reserved path
    "/dev/x"   = ware.base # ERROR: Reserved path
    "/sys"     = ware.base # ERROR: Reserved path
    "/.kiln/a" = ware.base # ERROR: Reserved path
    "/x/../proc/self" = ware.base # ERROR: Reserved path
  }
  exec = ["true"]
}

step "values" {
  inputs = {
    "/"  = ware.base
    "/a" = "text"                              # ERROR: Input is not a ware
    "/b" = null                                # ERROR: Input is not a ware
    "/c" = { mode = "ro" }                     # ERROR: Input is not a ware
    "/d" = { from = ware.base, mode = "rw" }   # ERROR: Invalid mode
    "/e" = {
      from = ware.base
      mood = "ro" # ERROR: Unknown attribute
    }
    "/e2" = {
      from = "ware.base" # ERROR: Input is not a ware
      mode = "r"         # ERROR: Invalid mode
    }
    "/f" = { from = ware.base, mode = null }   # ERROR: Null value
    "/g" = [ware.base]                         # ERROR: Input is not a ware
    "$A" = ware.base                           # ERROR: Wrong type
    "$B" = null                                # ERROR: Null value
    "$1" = "x"                                 # ERROR: Invalid variable name
    "$C" = ["x"]                               # ERROR: Wrong type
    "$D" = "a\u0000b"                          # ERROR: NUL in a string
    "$E" = "text ${ware.base}"                 # ERROR: Invalid template interpolation value
    (null) = ware.base                         # ERROR: Null value
  }
  env = {
    E   = "once"
    F   = "once"
    "F" = "twice" # ERROR: Variable set twice
    A-B = "x"     # ERROR: Invalid variable name
  }
  exec = ["true"]
}

step "not_object" {
  inputs = [ware.base] # ERROR: Wrong type
  env    = "A=B"       # ERROR: Wrong type
  exec   = ["true"]
}

step "null" {
  inputs = null # ERROR: Null value
  exec   = ["true"]
}

step "same_var" {
  inputs = { "/" = ware.base, "$A" = "x" }
  env    = { A = "y" } # ERROR: Variable set twice
  exec   = ["true"]
}

step "many" {
  inputs = merge({ "/" = ware.base }, # ERROR: Two inputs at one port
  { for i in range(20) : "/x${i}" => ware.base }, { "/x3/" = ware.base })
  exec = ["true"]
}

step "json" {
  inputs = { "/" = ware.base }
  env = {
    A = jsonencode(ware.base) # ERROR: Error in function call
    B = yamlencode(ware.base) # ERROR: Error in function call
    C = tostring(ware.base)   # ERROR: Invalid function argument
    D = format("%v", ware.base) # ERROR: Error in function call
    E = upper(ware.base)        # ERROR: Invalid function argument
  }
  exec = ["true"]
}
