ware "base" { builtin = "toolbox" }

step "paths" {
  inputs = { "/" = ware.base }
  exec   = ["true"]
  outputs = {
    ok     = "/out"
    rel    = "out"         # ERROR: Invalid output path
    proc   = "/proc/x"     # ERROR: Reserved path
    kiln   = "/x/../.kiln" # ERROR: Reserved path
    null   = null          # ERROR: Null value
    ware   = ware.base     # ERROR: Wrong type
    "a b"  = "/ab"         # ERROR: Invalid name
    nopath = { packtype = "tar" } # ERROR: Output without a path
    pack   = { path = "/out", packtype = "rar" } # ERROR: Unknown packtype
    filt   = { path = "/out", filters = { uid = "keep" } } # ERROR: Wrong type
    parts = {
      path     = "parts" # ERROR: Invalid output path
      packtype = "rar"   # ERROR: Unknown packtype
      filters  = 1       # ERROR: Wrong type
      filter   = ""      # ERROR: Unknown attribute
    }
    attr   = { path = "/out", packtipe = "tar" } # ERROR: Unknown attribute
  }
}

step "outside" {
  inputs  = { "/bin" = ware.base }
  exec    = ["/bin/true"]
  outputs = { out = "/out" } # ERROR: Output outside every input
}

step "readonly" {
  inputs  = { "/" = ware.base, "/src" = ware.base }
  exec    = ["true"]
  outputs = { out = "/src/out" } # ERROR: Output in a read-only input
}

step "type" {
  inputs  = { "/" = ware.base }
  exec    = ["true"]
  outputs = ["/out"] # ERROR: Wrong type
}

step "twice" {
  inputs  = { "/" = ware.base }
  exec    = ["true"]
  outputs = { (upper("a")) = "/a", A = "/b" } # ERROR: Duplicate name
}

step "each" {
  for_each = toset(["a", "b"])
  inputs   = { "/" = ware.base }
  exec     = ["true"]
  outputs  = { (each.key) = "/out" } # ERROR: Output names depend on each
}
