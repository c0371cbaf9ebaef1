variable "in" {}
output "out" { # ERROR: Cycle of references
  value = var.in
}
