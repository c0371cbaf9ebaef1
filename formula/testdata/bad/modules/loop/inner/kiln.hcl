module "again" { source = "../../loop" } # ERROR: Module contains itself
