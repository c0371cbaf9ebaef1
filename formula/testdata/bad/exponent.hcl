locals {
  a = 1e99999 # ERROR: Number too large
}
