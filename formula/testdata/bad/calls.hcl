variable "secret" {
  default   = "s3cr3t"
  sensitive = true
}

ware "python" {
  builtin = "python"
}

function "stats" {
  inputs     = { "/" = ware.python }
  exec       = ["/usr/bin/python3", "/stats.py"]
  schema_in  = { type = "object", properties = { values = { type = "array", items = { type = "number" } } }, required = ["values"] }
  schema_out = "{\"type\": \"object\"}"
  memory     = "512MiB"
}

function "rootless" {
  inputs = { "/x" = ware.python } # ERROR: Function without a root
  exec   = ["a"]
}

function "writable" {
  inputs = {
    "/"  = ware.python
    "/x" = { from = ware.python, mode = "overlay" } # ERROR: Writable input of a function
  }
  exec = []        # ERROR: Empty command
  memory = "lots"  # ERROR: Invalid amount of memory
  timeout = "soon" # ERROR: Invalid timeout
}

function "schemas" {
  inputs     = { "/" = ware.python }
  exec       = ["a"]
  schema_in  = { type = "strin" }                         # ERROR: Invalid schema
  schema_out = { "$ref" = "https://example.com/s.json" } # ERROR: Invalid schema
}

function "script" { # ERROR: Missing attribute # ERROR: Missing attribute
  script = ["a"]   # ERROR: Unknown attribute
}

call "good" {
  function = function.stats
  input    = { values = [1, 2.5] }
}

call "misfit" {
  function = function.stats
  input = {
    values = [
      1,
      "two", # ERROR: Input does not fit the schema
      3,
      null, # ERROR: Input does not fit the schema
    ]
  }
}

call "missing" {
  function = function.stats
  input    = { value = [] } # ERROR: Input does not fit the schema
}

call "sensitive" {
  function = function.stats
  input    = { values = [var.secret] } # ERROR: Input does not fit the schema
}

call "each" {
  for_each = { a = 1, b = "x" }
  function = function.stats
  input    = { values = [each.value] } # ERROR: Input does not fit the schema
}

call "ware" {
  function = function.stats
  input    = { values = [ware.python] } # ERROR: Input has no JSON
}

call "unknown" {
  function = function.stat # ERROR: Unknown function
  input    = {}
}

call "calculated" {
  function = true ? function.stats : 1 # ERROR: Not a function
  input    = {}
}

call "variable" { # ERROR: Variable in a call
  function = function.stats
  input    = { values = [] }
  inputs   = { "$A" = 1 }
}

call "overlay" {
  function = function.stats
  input    = { values = [] }
  inputs = {
    "/d" = { from = ware.python, mode = "overlay" } # ERROR: Writable input of a function
    "/"  = ware.python                              # ERROR: Two inputs at one port
  }
}

call "empty" { # ERROR: Missing attribute # ERROR: Missing attribute
}

step "uses" {
  inputs = {
    "/"  = ware.python
    "$A" = call.nothing.output    # ERROR: Unknown call
    "$B" = call.good.outputs      # ERROR: Unknown output
    "$C" = function.stats         # ERROR: Function outside a call
    "$D" = call.each["c"].output  # ERROR: Unknown instance
    "/e" = call.good.output.x     # fine until it has run
    "/f" = call.good.file
  }
  exec       = ["a"]
  depends_on = [call.bad] # ERROR: Unknown call
}
