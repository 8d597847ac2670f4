package network

// versions are the stable api-versions of Microsoft.Network's core types, as the folders of
// Azure/azure-rest-api-specs name them, and those that current clients send.
var versions = []string{
	"2015-06-15",
	"2016-03-30", "2016-06-01", "2016-09-01", "2016-12-01",
	"2017-03-01", "2017-03-30", "2017-06-01", "2017-08-01", "2017-09-01", "2017-10-01", "2017-11-01",
	"2018-01-01", "2018-02-01", "2018-03-01", "2018-04-01", "2018-05-01", "2018-06-01", "2018-07-01", "2018-08-01",
	"2018-10-01", "2018-11-01", "2018-12-01",
	"2019-02-01", "2019-04-01", "2019-06-01", "2019-07-01", "2019-08-01", "2019-09-01", "2019-11-01", "2019-12-01",
	"2020-01-01", "2020-03-01", "2020-04-01", "2020-05-01", "2020-06-01", "2020-07-01", "2020-08-01", "2020-11-01",
	"2021-02-01", "2021-03-01", "2021-05-01", "2021-06-01", "2021-08-01", "2021-12-01",
	"2022-01-01", "2022-05-01", "2022-07-01", "2022-09-01", "2022-11-01",
	"2023-02-01", "2023-04-01", "2023-05-01", "2023-06-01", "2023-09-01", "2023-11-01",
	"2024-01-01", "2024-03-01", "2024-05-01", "2024-07-01", "2024-10-01",
	"2025-01-01", "2025-03-01", "2025-05-01", "2025-07-01", "2025-09-01",
	"2026-01-01", "2026-03-01",
}

// Versions are the api-versions that the core types of Microsoft.Network have.
func Versions() []string { return versions }

// since returns the versions from first on: types came later than the namespace.
func since(first string) []string {
	for i, v := range versions {
		if v >= first {
			return versions[i:]
		}
	}
	return nil
}

// privateSubnets is the first version in which subnets have no default outbound access unless they ask
// for it (Azure: "Default outbound access", retirement of March 2026).
const privateSubnets = "2025-07-01"
