# A secured workspace by azurerm: network, services behind private endpoints, roles, governance.
terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}

provider "azurerm" {
  storage_use_azuread = true
  features {
    key_vault {
      purge_soft_delete_on_destroy = true
    }
    machine_learning {
      purge_soft_deleted_workspace_on_destroy = true
    }
  }
}

variable "changed" {
  description = "The second state of the configuration."
  type        = bool
  default     = false
}

data "azurerm_client_config" "me" {}

data "azurerm_subscription" "this" {}

locals {
  tags = var.changed ? { env = "lab", round = "two" } : { env = "lab" }
}

resource "azurerm_resource_group" "this" {
  name     = "tf-secured"
  location = "westeurope"
  tags     = local.tags
}

resource "azurerm_network_security_group" "this" {
  name                = "nsg"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.tags

  security_rule {
    name                       = "https"
    priority                   = 100
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_port_range          = "*"
    destination_port_range     = "443"
    source_address_prefix      = "VirtualNetwork"
    destination_address_prefix = "*"
  }
  security_rule {
    name                       = "out"
    priority                   = 200
    direction                  = "Outbound"
    access                     = var.changed ? "Deny" : "Allow"
    protocol                   = "*"
    source_port_range          = "*"
    destination_port_ranges    = ["80", "8000-8080"]
    source_address_prefixes    = ["10.1.1.0/24", "10.1.2.0/24"]
    destination_address_prefix = "Storage.WestEurope"
  }
}

resource "azurerm_network_security_rule" "ssh" {
  name                        = "ssh"
  priority                    = 300
  direction                   = "Inbound"
  access                      = "Deny"
  protocol                    = "Tcp"
  source_port_range           = "*"
  destination_port_range      = "22"
  source_address_prefix       = "*"
  destination_address_prefix  = "*"
  resource_group_name         = azurerm_resource_group.this.name
  network_security_group_name = azurerm_network_security_group.apart.name
}

resource "azurerm_network_security_group" "apart" {
  name                = "nsg-apart"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
}

resource "azurerm_route_table" "this" {
  name                          = "rt"
  location                      = azurerm_resource_group.this.location
  resource_group_name           = azurerm_resource_group.this.name
  bgp_route_propagation_enabled = false

  route {
    name                   = "to-firewall"
    address_prefix         = "0.0.0.0/0"
    next_hop_type          = "VirtualAppliance"
    next_hop_in_ip_address = "10.1.9.4"
  }
}

resource "azurerm_route" "aml" {
  name                = "aml"
  resource_group_name = azurerm_resource_group.this.name
  route_table_name    = azurerm_route_table.apart.name
  address_prefix      = "AzureMachineLearning"
  next_hop_type       = "Internet"
}

resource "azurerm_route_table" "apart" {
  name                = "rt-apart"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
}

resource "azurerm_virtual_network" "this" {
  name                = "vnet"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  address_space       = ["10.1.0.0/16"]
  tags                = local.tags
}

resource "azurerm_subnet" "endpoints" {
  name                 = "endpoints"
  resource_group_name  = azurerm_resource_group.this.name
  virtual_network_name = azurerm_virtual_network.this.name
  address_prefixes     = ["10.1.1.0/24"]
}

resource "azurerm_subnet" "training" {
  name                            = "training"
  resource_group_name             = azurerm_resource_group.this.name
  virtual_network_name            = azurerm_virtual_network.this.name
  address_prefixes                = [var.changed ? "10.1.4.0/24" : "10.1.2.0/24"]
  default_outbound_access_enabled = false

  service_endpoint {
    service = "Microsoft.Storage"
  }
  service_endpoint {
    service = "Microsoft.KeyVault"
  }
}

resource "azurerm_subnet" "delegated" {
  name                 = "delegated"
  resource_group_name  = azurerm_resource_group.this.name
  virtual_network_name = azurerm_virtual_network.this.name
  address_prefixes     = ["10.1.3.0/24"]

  delegation {
    name = "aci"
    service_delegation {
      name    = "Microsoft.ContainerInstance/containerGroups"
      actions = ["Microsoft.Network/virtualNetworks/subnets/action"]
    }
  }
}

resource "azurerm_subnet_network_security_group_association" "training" {
  subnet_id                 = azurerm_subnet.training.id
  network_security_group_id = azurerm_network_security_group.this.id
}

resource "azurerm_subnet_route_table_association" "training" {
  subnet_id      = azurerm_subnet.training.id
  route_table_id = azurerm_route_table.this.id
}

resource "azurerm_public_ip" "this" {
  name                = "pip"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  allocation_method   = "Static"
  sku                 = "Standard"
}

resource "azurerm_network_interface" "this" {
  name                = "nic"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name

  ip_configuration {
    name                          = "internal"
    subnet_id                     = azurerm_subnet.endpoints.id
    private_ip_address_allocation = "Dynamic"
    public_ip_address_id          = azurerm_public_ip.this.id
  }
}

resource "azurerm_virtual_network" "other" {
  name                = "other"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  address_space       = ["10.2.0.0/16"]
}

resource "azurerm_virtual_network_peering" "there" {
  name                      = "there"
  resource_group_name       = azurerm_resource_group.this.name
  virtual_network_name      = azurerm_virtual_network.this.name
  remote_virtual_network_id = azurerm_virtual_network.other.id
}

resource "azurerm_virtual_network_peering" "back" {
  name                      = "back"
  resource_group_name       = azurerm_resource_group.this.name
  virtual_network_name      = azurerm_virtual_network.other.name
  remote_virtual_network_id = azurerm_virtual_network.this.id
  allow_forwarded_traffic   = var.changed
}

resource "azurerm_storage_account" "this" {
  name                            = "tfsecuredstorage"
  resource_group_name             = azurerm_resource_group.this.name
  location                        = azurerm_resource_group.this.location
  account_tier                    = "Standard"
  account_replication_type        = "LRS"
  allow_nested_items_to_be_public = false
  min_tls_version                 = "TLS1_2"
  tags                            = local.tags

  blob_properties {
    versioning_enabled = var.changed
    delete_retention_policy {
      days = 7
    }
  }
}

resource "azurerm_storage_container" "this" {
  name                  = "data"
  storage_account_id    = azurerm_storage_account.this.id
  container_access_type = "private"
}

resource "azurerm_storage_blob" "this" {
  name                 = "hello.txt"
  storage_container_id = azurerm_storage_container.this.id
  type                 = "Block"
  source_content       = var.changed ? "good bye" : "hello"
}

resource "azurerm_key_vault" "this" {
  name                       = "tf-secured-vault"
  location                   = azurerm_resource_group.this.location
  resource_group_name        = azurerm_resource_group.this.name
  tenant_id                  = data.azurerm_client_config.me.tenant_id
  sku_name                   = "standard"
  rbac_authorization_enabled = true
  soft_delete_retention_days = 7
  purge_protection_enabled   = false
}

resource "azurerm_role_assignment" "secrets" {
  scope                = azurerm_key_vault.this.id
  role_definition_name = "Key Vault Administrator"
  principal_id         = data.azurerm_client_config.me.object_id
}

resource "azurerm_role_assignment" "blobs" {
  scope                = azurerm_storage_account.this.id
  role_definition_name = "Storage Blob Data Owner"
  principal_id         = data.azurerm_client_config.me.object_id
}

resource "azurerm_key_vault_secret" "this" {
  name         = "password"
  value        = var.changed ? "second" : "first"
  key_vault_id = azurerm_key_vault.this.id
  content_type = "text/plain"
  depends_on   = [azurerm_role_assignment.secrets]
}

resource "azurerm_private_dns_zone" "blob" {
  name                = "privatelink.blob.core.windows.net"
  resource_group_name = azurerm_resource_group.this.name
}

resource "azurerm_private_dns_zone_virtual_network_link" "blob" {
  name                = "vnet"
  private_dns_zone_id = azurerm_private_dns_zone.blob.id
  virtual_network_id  = azurerm_virtual_network.this.id
}

resource "azurerm_private_dns_a_record" "this" {
  name                = "extra"
  private_dns_zone_id = azurerm_private_dns_zone.blob.id
  ttl                 = var.changed ? 60 : 300
  records             = ["10.1.1.77"]
}

resource "azurerm_private_endpoint" "blob" {
  name                = "pe-blob"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  subnet_id           = azurerm_subnet.endpoints.id

  private_service_connection {
    name                           = "blob"
    private_connection_resource_id = azurerm_storage_account.this.id
    subresource_names              = ["blob"]
    is_manual_connection           = false
  }
  private_dns_zone_group {
    name                 = "default"
    private_dns_zone_ids = [azurerm_private_dns_zone.blob.id]
  }
}

resource "azurerm_user_assigned_identity" "this" {
  name                = "identity"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
}

resource "azurerm_role_definition" "this" {
  name        = "tf-reader-of-vaults"
  scope       = data.azurerm_subscription.this.id
  description = var.changed ? "Reads vaults" : "Reads"

  permissions {
    actions     = ["Microsoft.KeyVault/vaults/read"]
    not_actions = []
  }
  assignable_scopes = [data.azurerm_subscription.this.id]
}

resource "azurerm_role_assignment" "identity" {
  scope              = azurerm_resource_group.this.id
  role_definition_id = azurerm_role_definition.this.role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.this.principal_id
}

resource "azurerm_log_analytics_workspace" "this" {
  name                = "logs"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  sku                 = "PerGB2018"
  retention_in_days   = 30
}

resource "azurerm_application_insights" "this" {
  name                = "insights"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  workspace_id        = azurerm_log_analytics_workspace.this.id
  application_type    = "web"
}

resource "azurerm_machine_learning_workspace" "this" {
  name                          = "tf-secured-ws"
  location                      = azurerm_resource_group.this.location
  resource_group_name           = azurerm_resource_group.this.name
  application_insights_id       = azurerm_application_insights.this.id
  key_vault_id                  = azurerm_key_vault.this.id
  storage_account_id            = azurerm_storage_account.this.id
  public_network_access_enabled = true
  friendly_name                 = var.changed ? "Second" : "First"
  tags                          = local.tags

  identity {
    type = "SystemAssigned"
  }
}

resource "azurerm_machine_learning_compute_cluster" "this" {
  name                          = "cpu"
  location                      = azurerm_resource_group.this.location
  machine_learning_workspace_id = azurerm_machine_learning_workspace.this.id
  vm_priority                   = "Dedicated"
  vm_size                       = "STANDARD_DS2_V2"
  subnet_resource_id            = azurerm_subnet.training.id

  scale_settings {
    min_node_count                       = 0
    max_node_count                       = var.changed ? 2 : 1
    scale_down_nodes_after_idle_duration = "PT2M"
  }
  identity {
    type = "SystemAssigned"
  }
  depends_on = [azurerm_subnet_network_security_group_association.training, azurerm_subnet_route_table_association.training]
}

resource "azurerm_policy_definition" "this" {
  name         = "tf-locations"
  policy_type  = "Custom"
  mode         = "Indexed"
  display_name = "Locations"
  parameters   = jsonencode({ allowed = { type = "Array", metadata = { displayName = "Allowed" } } })
  policy_rule = jsonencode({
    if   = { not = { field = "location", in = "[parameters('allowed')]" } }
    then = { effect = "audit" }
  })
}

resource "azurerm_resource_group_policy_assignment" "this" {
  name                 = "tf-locations"
  resource_group_id    = azurerm_resource_group.this.id
  policy_definition_id = azurerm_policy_definition.this.id
  parameters           = jsonencode({ allowed = { value = var.changed ? ["westeurope", "northeurope"] : ["westeurope"] } })
}

resource "azurerm_management_lock" "this" {
  name       = "keep"
  scope      = azurerm_virtual_network.other.id
  lock_level = "CanNotDelete"
  notes      = "kept by Terraform"
  depends_on = [azurerm_virtual_network_peering.there, azurerm_virtual_network_peering.back]
}
