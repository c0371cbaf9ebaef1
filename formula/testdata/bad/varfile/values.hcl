a   = "x" # ERROR: Wrong type
bee = 2   # ERROR: Unknown variable
b   = local.x # ERROR: Invalid variable value
c {} # ERROR: Unknown block
