# Network, storage, vault, workspace and governance by azapi, which checks bodies by Azure's own schemas.
terraform {
  required_providers {
    azapi = { source = "azure/azapi" }
  }
}

provider "azapi" {}

variable "changed" {
  description = "The second state of the configuration."
  type        = bool
  default     = false
}

data "azapi_client_config" "me" {}

resource "azapi_resource" "group" {
  type     = "Microsoft.Resources/resourceGroups@2024-03-01"
  name     = "tf-azapi"
  location = "westeurope"
}

resource "azapi_resource" "nsg" {
  type      = "Microsoft.Network/networkSecurityGroups@2023-09-01"
  name      = "nsg"
  parent_id = azapi_resource.group.id
  location  = "westeurope"
  tags      = { round = var.changed ? "two" : "one" }
  body = {
    properties = {
      securityRules = [{
        name = "https"
        properties = {
          priority                 = 100
          direction                = "Inbound"
          access                   = var.changed ? "Deny" : "Allow"
          protocol                 = "Tcp"
          sourcePortRange          = "*"
          destinationPortRange     = "443"
          sourceAddressPrefix      = "VirtualNetwork"
          destinationAddressPrefix = "*"
        }
      }]
    }
  }
}

resource "azapi_resource" "vnet" {
  type      = "Microsoft.Network/virtualNetworks@2023-09-01"
  name      = "vnet"
  parent_id = azapi_resource.group.id
  location  = "westeurope"
  body = {
    properties = {
      addressSpace = { addressPrefixes = ["10.3.0.0/16"] }
      subnets = [{
        name = "endpoints"
        properties = {
          addressPrefix        = "10.3.1.0/24"
          networkSecurityGroup = { id = azapi_resource.nsg.id }
        }
      }]
    }
  }
}

resource "azapi_resource" "storage" {
  type      = "Microsoft.Storage/storageAccounts@2023-01-01"
  name      = "tfazapistorage"
  parent_id = azapi_resource.group.id
  location  = "westeurope"
  body = {
    kind       = "StorageV2"
    sku        = { name = "Standard_LRS" }
    properties = { allowBlobPublicAccess = false, minimumTlsVersion = "TLS1_2" }
  }
}

resource "azapi_resource" "container" {
  type      = "Microsoft.Storage/storageAccounts/blobServices/containers@2023-01-01"
  name      = "data"
  parent_id = "${azapi_resource.storage.id}/blobServices/default"
  body      = { properties = { publicAccess = "None" } }
}

resource "azapi_resource" "vault" {
  type      = "Microsoft.KeyVault/vaults@2023-02-01"
  name      = "tf-azapi-vault"
  parent_id = azapi_resource.group.id
  location  = "westeurope"
  body = {
    properties = {
      tenantId                = data.azapi_client_config.me.tenant_id
      sku                     = { family = "A", name = "standard" }
      enableRbacAuthorization = true
    }
  }
}

resource "azapi_resource" "endpoint" {
  type      = "Microsoft.Network/privateEndpoints@2023-09-01"
  name      = "pe"
  parent_id = azapi_resource.group.id
  location  = "westeurope"
  body = {
    properties = {
      subnet = { id = "${azapi_resource.vnet.id}/subnets/endpoints" }
      privateLinkServiceConnections = [{
        name       = "blob"
        properties = { privateLinkServiceId = azapi_resource.storage.id, groupIds = ["blob"] }
      }]
    }
  }
}

resource "azapi_resource" "workspace" {
  type      = "Microsoft.MachineLearningServices/workspaces@2023-10-01"
  name      = "tf-azapi-ws"
  parent_id = azapi_resource.group.id
  location  = "westeurope"
  identity { type = "SystemAssigned" }
  body = {
    properties = {
      friendlyName   = var.changed ? "Second" : "First"
      storageAccount = azapi_resource.storage.id
      keyVault       = azapi_resource.vault.id
    }
  }
  response_export_values = ["properties.workspaceId"]
}

resource "azapi_resource" "lock" {
  type       = "Microsoft.Authorization/locks@2020-05-01"
  name       = "keep"
  parent_id  = azapi_resource.storage.id
  body       = { properties = { level = "CanNotDelete" } }
  depends_on = [azapi_resource.container, azapi_resource.endpoint, azapi_resource.workspace]
}

resource "azapi_resource_action" "keys" {
  type                   = "Microsoft.Storage/storageAccounts@2023-01-01"
  resource_id            = azapi_resource.storage.id
  action                 = "listKeys"
  response_export_values = ["*"]
}
