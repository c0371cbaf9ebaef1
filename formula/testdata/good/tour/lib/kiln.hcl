variable "base" {}

variable "words" {
  type = set(string)
}

ware "data" {
  path = "data"
}

step "join" {
  inputs = {
    "/"       = var.base
    "/in"     = ware.data
    "$WORDS"  = jsonencode(var.words)
    "$README" = templatefile("readme.tmpl", { words = var.words })
  }
  script  = ["cat /in/* > /joined"]
  outputs = { joined = "/joined" }
}

output "joined" {
  value = step.join.joined
}
