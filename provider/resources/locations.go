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

// site is where on earth a location is, in degrees, as Azure says it.
type site struct{ latitude, longitude, place string }

// sites are the locations' (Subscriptions REST: List Locations).
var sites = map[string]site{
	"eastus":             {"37.3719", "-79.8164", "Virginia"},
	"eastus2":            {"36.6681", "-78.3889", "Virginia"},
	"southcentralus":     {"29.4167", "-98.5", "Texas"},
	"westus2":            {"47.233", "-119.852", "Washington"},
	"westus3":            {"33.448376", "-112.074036", "Phoenix"},
	"centralus":          {"41.5908", "-93.6208", "Iowa"},
	"northcentralus":     {"41.8819", "-87.6278", "Illinois"},
	"westus":             {"37.783", "-122.417", "California"},
	"westcentralus":      {"40.89", "-110.234", "Wyoming"},
	"canadacentral":      {"43.653", "-79.383", "Toronto"},
	"canadaeast":         {"46.817", "-71.217", "Quebec"},
	"mexicocentral":      {"20.588818", "-100.389888", "Querétaro State"},
	"brazilsouth":        {"-23.55", "-46.633", "Sao Paulo State"},
	"brazilsoutheast":    {"-22.90278", "-43.2075", "Rio"},
	"chilecentral":       {"-33.447487", "-70.673676", "Santiago"},
	"northeurope":        {"53.3478", "-6.2597", "Ireland"},
	"westeurope":         {"52.3667", "4.9", "Netherlands"},
	"uksouth":            {"50.941", "-0.799", "London"},
	"ukwest":             {"53.427", "-3.084", "Cardiff"},
	"francecentral":      {"46.3772", "2.373", "Paris"},
	"francesouth":        {"43.8345", "2.1972", "Marseille"},
	"germanywestcentral": {"50.110924", "8.682127", "Frankfurt"},
	"germanynorth":       {"53.073635", "8.806422", "Berlin"},
	"switzerlandnorth":   {"47.451542", "8.564572", "Zurich"},
	"switzerlandwest":    {"46.204391", "6.143158", "Geneva"},
	"swedencentral":      {"60.67488", "17.14127", "Gävle"},
	"norwayeast":         {"59.913868", "10.752245", "Norway"},
	"norwaywest":         {"58.969975", "5.733107", "Norway"},
	"austriaeast":        {"48.2201", "16.3797", "Vienna"},
	"belgiumcentral":     {"50.8503", "4.3517", "Brussels"},
	"italynorth":         {"45.46888", "9.18109", "Milan"},
	"polandcentral":      {"52.23334", "21.01666", "Warsaw"},
	"spaincentral":       {"40.4259", "-3.4209", "Madrid"},
	"eastasia":           {"22.267", "114.188", "Hong Kong"},
	"southeastasia":      {"1.283", "103.833", "Singapore"},
	"australiaeast":      {"-33.86", "151.2094", "New South Wales"},
	"australiasoutheast": {"-37.8136", "144.9631", "Victoria"},
	"australiacentral":   {"-35.3075", "149.1244", "Canberra"},
	"australiacentral2":  {"-35.3075", "149.1244", "Canberra"},
	"newzealandnorth":    {"-36.84853", "174.76349", "Auckland"},
	"japaneast":          {"35.68", "139.77", "Tokyo, Saitama"},
	"japanwest":          {"34.6939", "135.5022", "Osaka"},
	"koreacentral":       {"37.5665", "126.978", "Seoul"},
	"koreasouth":         {"35.1796", "129.0756", "Busan"},
	"centralindia":       {"18.5822", "73.9197", "Pune"},
	"southindia":         {"12.9822", "80.1636", "Chennai"},
	"westindia":          {"19.088", "72.868", "Mumbai"},
	"indonesiacentral":   {"-6.2088", "106.8456", "Jakarta"},
	"malaysiawest":       {"3.140853", "101.693207", "Kuala Lumpur"},
	"uaenorth":           {"25.266666", "55.316666", "Dubai"},
	"uaecentral":         {"24.466667", "54.366669", "Abu Dhabi"},
	"qatarcentral":       {"25.551462", "51.439327", "Doha"},
	"israelcentral":      {"31.2655698", "33.4506633", "Israel"},
	"southafricanorth":   {"-25.73134", "28.21837", "Johannesburg"},
	"southafricawest":    {"-34.075691", "18.843266", "Cape Town"},
}

// withMetadata is the first api-version that says where a location is in a member of its own.
const withMetadata = "2019-11-01"

// show is the location as subscriptions list it in an api-version (Subscriptions REST: List Locations).
func (l Location) show(subscription, version string) map[string]any {
	id := func(name string) string { return "/subscriptions/" + subscription + "/locations/" + name }
	at := sites[l.Name]
	if version < withMetadata {
		return map[string]any{"id": id(l.Name), "name": l.Name, "displayName": l.DisplayName, "latitude": at.latitude, "longitude": at.longitude}
	}
	category, regional := "Recommended", "("+l.Group+") "+l.DisplayName
	if l.Other {
		category = "Other"
	}
	pairs := []map[string]string{}
	if l.Paired != "" {
		pairs = append(pairs, map[string]string{"name": l.Paired, "id": id(l.Paired)})
	}
	shown := map[string]any{
		"id": id(l.Name), "name": l.Name, "type": "Region", "displayName": l.DisplayName, "regionalDisplayName": regional,
		"metadata": map[string]any{
			"regionType": "Physical", "regionCategory": category, "geography": l.Geography, "geographyGroup": l.Group, "pairedRegion": pairs,
			"latitude": at.latitude, "longitude": at.longitude, "physicalLocation": at.place,
		},
	}
	if !l.Other {
		zones := make([]map[string]string, len(Zones))
		for i, z := range Zones {
			zones[i] = map[string]string{"logicalZone": z, "physicalZone": l.Name + "-az" + z}
		}
		shown["availabilityZoneMappings"] = zones
	}
	return shown
}

// Zones are the availability zones of every recommended location. A subscription's are the physical ones in their order.
var Zones = []string{"1", "2", "3"}

// DisplayName is what people call a location: "West Europe".
func DisplayName(location string) string {
	for _, l := range AzureLocations() {
		if l.Name == location {
			return l.DisplayName
		}
	}
	return location
}
