locals {
  up       = file("../variables.hcl")  # ERROR: Invalid function argument
  absolute = file("/etc/passwd")       # ERROR: Invalid function argument
  missing  = file("missing.txt")       # ERROR: Invalid function argument
  dir      = file("functions")         # ERROR: Invalid function argument
  link     = file("functions/passwd")  # ERROR: Invalid function argument
  binary   = file("functions/binary")  # ERROR: Invalid function argument
  set      = fileset("..", "*")        # ERROR: Invalid function argument
  pattern  = fileset(".", "../*")      # ERROR: Invalid function argument
  pattern2 = fileset(".", "[a")        # ERROR: Invalid function argument
  nodir    = fileset("nodir", "*")     # ERROR: Invalid function argument
  hash     = filesha256("missing")     # ERROR: Invalid function argument
  exists   = fileexists("../x")        # ERROR: Invalid function argument
  outside  = fileexists("functions/passwd") # ERROR: Invalid function argument
  template = templatefile("functions/t.tmpl", {}) # ERROR: Invalid function argument
  vars     = templatefile("functions/t.tmpl", "x") # ERROR: Invalid function argument
  syntax   = templatefile("functions/bad.tmpl", {}) # ERROR: Invalid function argument
  recurse  = templatefile("functions/recurse.tmpl", {}) # ERROR: Invalid function argument
  base64   = base64decode("!")    # ERROR: Invalid function argument
  bytes    = base64decode("/w==") # ERROR: Invalid function argument
  length   = length(true)         # ERROR: Invalid function argument
  many     = upper("a", "b")      # ERROR: Too many function arguments
  set2     = toset("a")           # ERROR: Invalid function argument
}

locals {
  log     = log(0, 0) # ERROR: Error in function call
  product = setproduct(range(1000), range(1000), range(2)) # ERROR: Error in function call
}

locals {
  k10 = join("", [for i in range(1024) : "0123456789"])
  m10 = join("", [for i in range(1024) : local.k10])
  m40 = "${local.m10}${local.m10}${local.m10}${local.m10}" # ERROR: Value too large
  m80 = "${local.m40}${local.m40}"
}

locals {
  deep   = join("", [for i in range(1001) : "["])
  indent = join("", [for i in range(1001) : "- "])
  json   = jsondecode(local.deep)   # ERROR: Invalid function argument
  yaml   = yamldecode(local.deep)   # ERROR: Invalid function argument
  dashes = yamldecode(local.indent) # ERROR: Invalid function argument
  braces = fileset(".", join("", [for i in range(9) : "{a,b}"])) # ERROR: Invalid function argument
}
