variable "words" { type = list(string) }
output "text" { value = "text" }
locals { bad = local.nope } # ERROR: Unknown local
