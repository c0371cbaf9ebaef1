ware "a" {
  builtin = "ÿ" # ERROR: Not a text file
}
