variable "bases" {}
variable "text" {}

step "make" {
  for_each = toset(["one"])
  inputs   = { "/" = var.bases.main, "$TEXT" = trimspace(var.text) }
  exec     = ["make", filesha256("../label.txt")]
  outputs  = { made = "/made" }
}

output "made" { value = step.make["one"].made }
