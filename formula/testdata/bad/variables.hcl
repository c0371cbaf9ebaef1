# VAR: number=many
# VAR: unknown=1
# VAR: list=[1,
# VAR: list2=["a", x]
# VAR: positive=-3
# ERROR NOWHERE: Unknown variable
# ERROR NOWHERE: Invalid variable value
# ERROR NOWHERE: Invalid variable value
variable "missing" {} # ERROR: Missing variable

variable "number" { # ERROR: Wrong type
  type = number
}

variable "list" { type = list(number) }
variable "list2" { type = list(string) }

variable "default" {
  type    = object({ a = list(number) })
  default = { a = [1, "x"] } # ERROR: Wrong type
}

variable "type" {
  type    = strin # ERROR: Invalid type specification
  default = 1
}

variable "sensitive" {
  default   = 1
  sensitive = "maybe" # ERROR: Not a plain bool
}

variable "description" {
  default     = 1
  description = var.type # ERROR: Not a plain string
}

variable "positive" {
  type = number
  validation {
    condition     = var.positive > 0 # ERROR: Invalid value for a variable
    error_message = "It must be above 0, not ${var.positive}."
  }
  validation {
    condition     = "yes" # ERROR: Wrong type
    error_message = "No."
  }
  validation {
    condition     = null # ERROR: Null value
    error_message = "No."
  }
  validation {
    condition     = var.positive < 0
    error_message = null # ERROR: Null value
  }
}
