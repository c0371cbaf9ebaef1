# VAR: pin=hunter2
# VAR: list=[hunter2
# VAR: short=hunter2
# ERROR NOWHERE: Invalid variable value
variable "pin" {
  type      = string
  sensitive = true
}

variable "list" {
  type      = list(string)
  sensitive = true
}

variable "short" {
  sensitive = true
  validation {
    condition     = length(var.short) < 3 # ERROR: Invalid value for a variable
    error_message = "Not ${var.short}."
  }
}

locals {
  number = parseint(var.pin, 10)        # ERROR: Invalid function argument
  json   = jsondecode("{${var.pin}")    # ERROR: Error in function call
  index  = { a = 1 }[var.pin]           # ERROR: Invalid index
}

ware "base" { builtin = "toolbox" }

step "s" {
  inputs = {
    "/"         = ware.base
    (var.pin)   = ware.base # ERROR: Invalid port
    "$${var.pin}-" = "a"    # ERROR: Invalid variable name
  }
  exec    = ["true"]
  timeout = var.pin # ERROR: Invalid timeout
  cwd     = var.pin # ERROR: Invalid working directory
  user    = var.pin # ERROR: Invalid user
  outputs = { out = var.pin } # ERROR: Invalid output path
}

output "secret" { value = var.pin } # ERROR: Output is not a ware
