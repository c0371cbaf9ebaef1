variable "given" {}
variable "label" { type = string }

module "inner" {
  source = "./inner"
  bases  = { main = var.given }
  text   = file("label.txt")
}

output "deep" { value = module.inner.made }
