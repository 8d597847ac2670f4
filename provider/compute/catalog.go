package compute

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

// Size is a virtual machine size. The list is what Microsoft.Compute/locations/vmSizes answered in West US (2019), and the
// general ones since (https://learn.microsoft.com/azure/virtual-machines/sizes/overview). There are none with GPUs.
type Size struct {
	Name      string
	CPUs      int
	MemoryMB  int
	OSDiskMB  int
	TempMB    int
	DataDisks int
	Family    string // by which quota counts
}

// UnmarshalJSON reads a line of sizes.json.
func (s *Size) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&s.Name, &s.CPUs, &s.MemoryMB, &s.OSDiskMB, &s.TempMB, &s.DataDisks, &s.Family})
}

// Image is a platform image. Machines run the host's system, whatever their image: it is a name, an operating system and a
// generation.
type Image struct {
	Publisher, Offer, SKU string
	OS                    string // Linux or Windows
	Generation            string // V1 or V2
	Architecture          string
	DiskGB                int
	Versions              []string // in order
	Plan                  bool     // it is bought under a plan, whose names are its own
}

// UnmarshalJSON reads a line of images.json.
func (i *Image) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&i.Publisher, &i.Offer, &i.SKU, &i.OS, &i.Generation, &i.Architecture, &i.DiskGB, &i.Versions, &i.Plan})
}

//go:embed sizes.json
var sizesJSON []byte

//go:embed images.json
var imagesJSON []byte

//go:embed publishers.txt
var publishersText string

var (
	sizes  = lines[Size](sizesJSON)
	images = lines[Image](imagesJSON)

	// publisherNames are those of Azure's Marketplace, as Microsoft.Compute/locations/publishers answered in West US (2019),
	// and those since whose images or extensions the region knows.
	publisherNames = strings.Fields(publishersText)
)

// lines is an embedded list; TestCatalog reads what is embedded.
func lines[T any](b []byte) (out []T) {
	if err := json.Unmarshal(b, &out); err != nil {
		panic(fmt.Sprintf("compute: embedded list: %v", err))
	}
	return out
}

func sizeOf(name string) (Size, bool) {
	for _, s := range sizes {
		if strings.EqualFold(s.Name, name) {
			return s, true
		}
	}
	return Size{}, false
}

// imageOf is the one that a machine names; nil for one that the region does not have.
func imageOf(publisher, offer, sku string) *Image {
	for i := range images {
		x := &images[i]
		if strings.EqualFold(x.Publisher, publisher) && strings.EqualFold(x.Offer, offer) && strings.EqualFold(x.SKU, sku) {
			return x
		}
	}
	return nil
}
