module "back" { source = "../loop/inner" }
