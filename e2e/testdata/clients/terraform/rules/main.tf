# What stands beside the file that `vauban rules generate --format terraform` writes.
terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}

provider "azurerm" {
  features {}
}
