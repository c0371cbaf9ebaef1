# VARFILE: values.hcl
# VARFILE: nowhere.hcl
# VARFILE: values.json
# ERROR NOWHERE: Variable file cannot be read
variable "a" { type = number }
variable "b" { default = 1 }
