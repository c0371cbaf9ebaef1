variable "secret" {
  default   = "s3cret"
  sensitive = true
}

ware "base" { builtin = "toolbox" }

step "app" {
  inputs  = { "/" = ware.base }
  script  = ["true"]
  outputs = { bin = "/bin", lib = "/lib" }
}

output "unknown" {
  value = ware.base
  image {
    entry_point = ["/app"]                    # ERROR: Unknown attribute
    layers      = [{ from = ware.base, at = "/" }] # ERROR: Unknown attribute
  }
  imag {}                                     # ERROR: Unknown block
}

output "attribute" {
  value = ware.base
  image = {}                                  # ERROR: Unknown attribute
}

output "twice" {
  value = ware.base
  image {}
  image {}                                    # ERROR: Two image blocks
}

output "layers" {
  value = ware.base
  image {
    layers = [
      ware.base,
      step.app,                               # ERROR: Layer is not a ware
      { from = "base", path = "/x" },         # ERROR: Layer is not a ware
      { from = ware.base, path = "opt" },     # ERROR: Invalid layer path
      { from = ware.base, path = "/a/../b" }, # ERROR: Invalid layer path
      { from = ware.base, path = ["/"] },     # ERROR: Wrong type
      ware.nope,                              # ERROR: Unknown ware
      null,                                   # ERROR: Layer is not a ware
    ]
  }
}

output "none" {
  value = ware.base
  image {
    layers = []                               # ERROR: Image without layers
  }
}

output "no_list" {
  value = ware.base
  image {
    layers = ware.base                        # ERROR: Wrong type
  }
}

output "config" {
  value = ware.base
  image {
    entrypoint  = "/app"                      # ERROR: Wrong type
    cmd         = [["a"]]                     # ERROR: Wrong type
    env         = { "A B" = 1, C = null, D = 1, D = 2 } # ERROR: Invalid variable name # ERROR: Null value # ERROR: Variable set twice
    labels      = { a = ware.base, b = 1, b = 2 } # ERROR: Wrong type # ERROR: Duplicate name
    user        = "me me"                     # ERROR: Invalid image user
    workdir     = "srv"                       # ERROR: Invalid workdir
    platform    = "linux/x86_64"              # ERROR: Unsupported platform
    expose      = ["http"]                    # ERROR: Invalid exposed port
    stop_signal = "TERM"                      # ERROR: Invalid stop signal
  }
}

output "secret" {
  value = ware.base
  image {                                     # ERROR: Sensitive image
    env = { TOKEN = var.secret }
  }
}

output "not_a_ware" {
  value = "text"                              # ERROR: Output is not a ware
  image {
    platform = "windows/amd64"                # ERROR: Unsupported platform
  }
}
