package resources

// Location is an Azure region.
type Location struct {
	Name        string // westeurope
	DisplayName string // West Europe
	Geography   string // Europe
	Group       string // geographyGroup: US, Europe, Asia Pacific …
	Paired      string // the name of its pair, "" for a region without one
	Other       bool   // regionCategory Other: a restricted region, for recovery within its geography
}

// AzureLocations are the physical regions of Azure's public cloud.
// https://learn.microsoft.com/azure/reliability/regions-list
func AzureLocations() []Location {
	return []Location{
		{"eastus", "East US", "United States", "US", "westus", false},
		{"eastus2", "East US 2", "United States", "US", "centralus", false},
		{"southcentralus", "South Central US", "United States", "US", "northcentralus", false},
		{"westus2", "West US 2", "United States", "US", "westcentralus", false},
		{"westus3", "West US 3", "United States", "US", "eastus", false},
		{"centralus", "Central US", "United States", "US", "eastus2", false},
		{"northcentralus", "North Central US", "United States", "US", "southcentralus", true},
		{"westus", "West US", "United States", "US", "eastus", true},
		{"westcentralus", "West Central US", "United States", "US", "westus2", true},
		{"canadacentral", "Canada Central", "Canada", "Canada", "canadaeast", false},
		{"canadaeast", "Canada East", "Canada", "Canada", "canadacentral", true},
		{"mexicocentral", "Mexico Central", "Mexico", "Mexico", "", false},
		{"brazilsouth", "Brazil South", "Brazil", "South America", "southcentralus", false},
		{"brazilsoutheast", "Brazil Southeast", "Brazil", "South America", "brazilsouth", true},
		{"chilecentral", "Chile Central", "Chile", "South America", "", false},
		{"northeurope", "North Europe", "Europe", "Europe", "westeurope", false},
		{"westeurope", "West Europe", "Europe", "Europe", "northeurope", false},
		{"uksouth", "UK South", "United Kingdom", "Europe", "ukwest", false},
		{"ukwest", "UK West", "United Kingdom", "Europe", "uksouth", true},
		{"francecentral", "France Central", "France", "Europe", "francesouth", false},
		{"francesouth", "France South", "France", "Europe", "francecentral", true},
		{"germanywestcentral", "Germany West Central", "Germany", "Europe", "germanynorth", false},
		{"germanynorth", "Germany North", "Germany", "Europe", "germanywestcentral", true},
		{"switzerlandnorth", "Switzerland North", "Switzerland", "Europe", "switzerlandwest", false},
		{"switzerlandwest", "Switzerland West", "Switzerland", "Europe", "switzerlandnorth", true},
		{"swedencentral", "Sweden Central", "Sweden", "Europe", "swedensouth", false},
		{"norwayeast", "Norway East", "Norway", "Europe", "norwaywest", false},
		{"norwaywest", "Norway West", "Norway", "Europe", "norwayeast", true},
		{"austriaeast", "Austria East", "Austria", "Europe", "", false},
		{"belgiumcentral", "Belgium Central", "Belgium", "Europe", "", false},
		{"italynorth", "Italy North", "Italy", "Europe", "", false},
		{"polandcentral", "Poland Central", "Poland", "Europe", "", false},
		{"spaincentral", "Spain Central", "Spain", "Europe", "", false},
		{"eastasia", "East Asia", "Asia Pacific", "Asia Pacific", "southeastasia", false},
		{"southeastasia", "Southeast Asia", "Asia Pacific", "Asia Pacific", "eastasia", false},
		{"australiaeast", "Australia East", "Australia", "Asia Pacific", "australiasoutheast", false},
		{"australiasoutheast", "Australia Southeast", "Australia", "Asia Pacific", "australiaeast", true},
		{"australiacentral", "Australia Central", "Australia", "Asia Pacific", "australiacentral2", true},
		{"australiacentral2", "Australia Central 2", "Australia", "Asia Pacific", "australiacentral", true},
		{"newzealandnorth", "New Zealand North", "New Zealand", "Asia Pacific", "", false},
		{"japaneast", "Japan East", "Japan", "Asia Pacific", "japanwest", false},
		{"japanwest", "Japan West", "Japan", "Asia Pacific", "japaneast", true},
		{"koreacentral", "Korea Central", "Korea", "Asia Pacific", "koreasouth", false},
		{"koreasouth", "Korea South", "Korea", "Asia Pacific", "koreacentral", true},
		{"centralindia", "Central India", "India", "Asia Pacific", "southindia", false},
		{"southindia", "South India", "India", "Asia Pacific", "centralindia", true},
		{"westindia", "West India", "India", "Asia Pacific", "southindia", true},
		{"indonesiacentral", "Indonesia Central", "Indonesia", "Asia Pacific", "", false},
		{"malaysiawest", "Malaysia West", "Malaysia", "Asia Pacific", "", false},
		{"uaenorth", "UAE North", "UAE", "Middle East", "uaecentral", false},
		{"uaecentral", "UAE Central", "UAE", "Middle East", "uaenorth", true},
		{"qatarcentral", "Qatar Central", "Qatar", "Middle East", "", false},
		{"israelcentral", "Israel Central", "Israel", "Middle East", "", false},
		{"southafricanorth", "South Africa North", "South Africa", "Africa", "southafricawest", false},
		{"southafricawest", "South Africa West", "South Africa", "Africa", "southafricanorth", true},
	}
}

// show is the location as subscriptions list it (Resources REST: Subscriptions, List Locations).
func (l Location) show(subscription string) map[string]any {
	id := func(name string) string { return "/subscriptions/" + subscription + "/locations/" + name }
	category, regional := "Recommended", "("+l.Group+") "+l.DisplayName
	if l.Other {
		category = "Other"
	}
	pairs := []map[string]string{}
	if l.Paired != "" {
		pairs = append(pairs, map[string]string{"name": l.Paired, "id": id(l.Paired)})
	}
	return map[string]any{
		"id": id(l.Name), "name": l.Name, "type": "Region", "displayName": l.DisplayName, "regionalDisplayName": regional,
		"metadata": map[string]any{
			"regionType": "Physical", "regionCategory": category, "geography": l.Geography, "geographyGroup": l.Group, "pairedRegion": pairs,
		},
	}
}
