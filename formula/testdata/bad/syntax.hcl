ware "a" {
  builtin = # ERROR: Invalid expression
}
