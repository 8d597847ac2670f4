package machinelearning

import (
	"fmt"
	"slices"
	"strings"
)

// Size is a virtual machine size that nodes can have.
type Size struct {
	Name      string  `json:"name"`
	Family    string  `json:"family"`
	CPUs      int     `json:"vCPUs"`
	GPUs      int     `json:"gpus"`
	OSDisk    int     `json:"osVhdSizeMB"`
	Volume    int     `json:"maxResourceVolumeMB"`
	MemoryGB  float64 `json:"memoryGB"`
	Low       bool    `json:"lowPriorityCapable"`
	PremiumIO bool    `json:"premiumIO"`

	Supported []string `json:"supportedComputeTypes"`
}

// osDisk is how large the disk of an operating system may be, in MB.
const osDisk = 1047552

// sizes are those of Azure's general, compute and memory series ("Sizes for virtual machines in Azure"), without those that
// it has retired, with graphics processors, and with more than 16 processors.
var sizes = withDisk(slices.Concat([]Size{
	{Name: "Standard_D1_v2", Family: "standardDv2Family", CPUs: 1, Volume: 51200, MemoryGB: 3.5},
	{Name: "Standard_D2_v2", Family: "standardDv2Family", CPUs: 2, Volume: 102400, MemoryGB: 7},
	{Name: "Standard_D3_v2", Family: "standardDv2Family", CPUs: 4, Volume: 204800, MemoryGB: 14},
	{Name: "Standard_D4_v2", Family: "standardDv2Family", CPUs: 8, Volume: 409600, MemoryGB: 28},
	{Name: "Standard_D11_v2", Family: "standardDv2Family", CPUs: 2, Volume: 102400, MemoryGB: 14},
	{Name: "Standard_D12_v2", Family: "standardDv2Family", CPUs: 4, Volume: 204800, MemoryGB: 28},
	{Name: "Standard_DS1_v2", Family: "standardDSv2Family", CPUs: 1, Volume: 7168, MemoryGB: 3.5, PremiumIO: true},
	{Name: "Standard_DS2_v2", Family: "standardDSv2Family", CPUs: 2, Volume: 14336, MemoryGB: 7, PremiumIO: true},
	{Name: "Standard_DS3_v2", Family: "standardDSv2Family", CPUs: 4, Volume: 28672, MemoryGB: 14, PremiumIO: true},
	{Name: "Standard_DS4_v2", Family: "standardDSv2Family", CPUs: 8, Volume: 57344, MemoryGB: 28, PremiumIO: true},
	{Name: "Standard_DS5_v2", Family: "standardDSv2Family", CPUs: 16, Volume: 114688, MemoryGB: 56, PremiumIO: true},
	{Name: "Standard_DS11_v2", Family: "standardDSv2Family", CPUs: 2, Volume: 28672, MemoryGB: 14, PremiumIO: true},
	{Name: "Standard_DS12_v2", Family: "standardDSv2Family", CPUs: 4, Volume: 57344, MemoryGB: 28, PremiumIO: true},
	{Name: "Standard_DS13_v2", Family: "standardDSv2Family", CPUs: 8, Volume: 114688, MemoryGB: 56, PremiumIO: true},
	{Name: "Standard_A1_v2", Family: "standardAv2Family", CPUs: 1, Volume: 10240, MemoryGB: 2},
	{Name: "Standard_A2_v2", Family: "standardAv2Family", CPUs: 2, Volume: 20480, MemoryGB: 4},
	{Name: "Standard_A4_v2", Family: "standardAv2Family", CPUs: 4, Volume: 40960, MemoryGB: 8},
	{Name: "Standard_A8_v2", Family: "standardAv2Family", CPUs: 8, Volume: 81920, MemoryGB: 16},
	{Name: "Standard_B1ls", Family: "standardBSFamily", CPUs: 1, Volume: 4096, MemoryGB: 0.5, PremiumIO: true},
	{Name: "Standard_B1s", Family: "standardBSFamily", CPUs: 1, Volume: 4096, MemoryGB: 1, PremiumIO: true},
	{Name: "Standard_B1ms", Family: "standardBSFamily", CPUs: 1, Volume: 4096, MemoryGB: 2, PremiumIO: true},
	{Name: "Standard_B2s", Family: "standardBSFamily", CPUs: 2, Volume: 8192, MemoryGB: 4, PremiumIO: true},
	{Name: "Standard_B2ms", Family: "standardBSFamily", CPUs: 2, Volume: 16384, MemoryGB: 8, PremiumIO: true},
	{Name: "Standard_B4ms", Family: "standardBSFamily", CPUs: 4, Volume: 32768, MemoryGB: 16, PremiumIO: true},
	{Name: "Standard_B8ms", Family: "standardBSFamily", CPUs: 8, Volume: 65536, MemoryGB: 32, PremiumIO: true},
},
	series("D%d_v3", "standardDv3Family", 4, 25600), series("D%ds_v3", "standardDSv3Family", 4, 8192), series("D%d_v4", "standardDv4Family", 4, 0),
	series("D%ds_v4", "standardDSv4Family", 4, 0), series("D%dds_v4", "standardDDSv4Family", 4, 38400), series("D%das_v4", "standardDASv4Family", 4, 8192),
	series("D%d_v5", "standardDv5Family", 4, 0), series("D%ds_v5", "standardDSv5Family", 4, 0), series("D%dds_v5", "standardDDSv5Family", 4, 38400),
	series("D%das_v5", "standardDASv5Family", 4, 0), series("D%dads_v5", "standardDADSv5Family", 4, 38400), series("D%ds_v6", "StandardDsv6Family", 4, 0),
	series("B%ds_v2", "standardBsv2Family", 4, 0), series("B%das_v2", "standardBasv2Family", 4, 0),
	series("E%d_v3", "standardEv3Family", 8, 25600), series("E%ds_v3", "standardESv3Family", 8, 16384), series("E%ds_v4", "standardESv4Family", 8, 0),
	series("E%dds_v4", "standardEDSv4Family", 8, 38400), series("E%ds_v5", "standardESv5Family", 8, 0), series("E%dds_v5", "standardEDSv5Family", 8, 38400),
	series("F%ds_v2", "standardFSv2Family", 2, 8192),
))

func withDisk(all []Size) []Size {
	for i := range all {
		all[i].OSDisk = osDisk
	}
	return all
}

// series are the sizes of one of the regular series, with so many GB of memory and MB of a temporary disk for each
// processor.
func series(name, family string, memory, volume int) (all []Size) {
	for _, cpus := range []int{2, 4, 8, 16} {
		n := fmt.Sprintf("Standard_"+name, cpus)
		number := strings.LastIndexByte(n, '_')
		all = append(all, Size{Name: n, Family: family, CPUs: cpus, Volume: volume * cpus, MemoryGB: float64(memory * cpus), PremiumIO: strings.HasSuffix(n[:number], "s")})
	}
	return all
}
