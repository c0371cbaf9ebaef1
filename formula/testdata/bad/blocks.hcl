sted "a" {} # ERROR: Unknown block
validation {} # ERROR: Unknown block
stray = 1 # ERROR: Unknown attribute
ware = {} # ERROR: Unknown attribute

ware {} # ERROR: Missing name

ware "a" "b" {} # ERROR: Too many labels

locals "x" {} # ERROR: Too many labels

ware "1st" { # ERROR: Invalid name
  builtin = "toolbox"
}

ware "base" {
  builtin = "toolbox"
  bultin  = "toolbox" # ERROR: Unknown attribute
  path {              # ERROR: Unknown block
  }
}

step "s" {
  inputs = { "/" = ware.base }
  exec   = ["true"]

  timout = "1m" # ERROR: Unknown attribute

  outputs { # ERROR: Unknown block
    out = "/out"
  }
}

variable "v" {
  default    = 1
  validation = true # ERROR: Unknown attribute

  validation { # ERROR: Missing attribute
    condition = true
    mesage    = "no" # ERROR: Unknown attribute
  }

  validation "x" { # ERROR: Too many labels
  }
}

output "none" { # ERROR: Missing attribute
}

module "none" { # ERROR: Missing attribute
}
