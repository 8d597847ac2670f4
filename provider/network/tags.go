package network

import (
	"context"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/servicetags"
)

// published are tags that can be listed, and replaced while they are used (servicetags.Live).
type published interface {
	fabric.TagSource
	Now() *servicetags.Tags
}

// tagsNow are the tags as one topology or answer sees them from its beginning to its end.
func (p *Provider) tagsNow() fabric.TagSource {
	if live, ok := p.cfg.Tags.(published); ok {
		return live.Now()
	}
	return p.cfg.Tags
}

// tagList is the list of service tags, in Azure's form.
func (p *Provider) tagList() (servicetags.List, error) {
	live, ok := p.cfg.Tags.(published)
	if !ok {
		return servicetags.List{}, arm.NotImplemented("This region has no published list of service tags.")
	}
	return live.Now().List(), nil
}

// listTags is the whole list (Network REST: Service Tags, List).
func (p *Provider) listTags(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	list, err := p.tagList()
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"name": list.Cloud, "id": "/subscriptions/" + path["subscription"] + "/providers/Microsoft.Network/serviceTags/" + list.Cloud,
		"type": "Microsoft.Network/serviceTags", "changeNumber": list.ChangeNumber, "cloud": list.Cloud, "values": list.Values, "nextLink": "",
	}, nil
}

// tagDetails are the tags, or one of them, on request without their prefixes (Network REST: Service Tag
// Information, List).
func (p *Provider) tagDetails(_ context.Context, _ *rp.Tx, _, query map[string]string, _ []byte) (any, error) {
	all, err := p.tagList()
	if err != nil {
		return nil, err
	}
	name, bare := "", false
	for k, v := range query {
		switch strings.ToLower(k) {
		case "tagname":
			name = v
		case "noaddressprefixes":
			bare = strings.EqualFold(v, "true")
		}
	}
	value := []servicetags.Entry{}
	for _, e := range all.Values {
		if name != "" && !strings.EqualFold(name, e.Name) {
			continue
		}
		if bare {
			e.Properties.AddressPrefixes = nil
		}
		value = append(value, e)
	}
	return list(value), nil
}

// UsedTags are those of the tags that a stored resource of the namespace names, each with one that does. A tag
// that is in use must not go: the rule that names it would have no meaning.
func UsedTags(tx *rp.Tx, types []string, tags []string) (map[string]string, error) {
	gone := map[string]string{}
	for _, t := range tags {
		gone[strings.ToLower(t)] = t
	}
	used := map[string]string{}
	if len(gone) == 0 {
		return used, nil
	}
	for _, typ := range types {
		docs, err := scanAny(tx, rp.StoreKind(typ))
		if err != nil {
			return nil, err
		}
		for key, doc := range docs {
			eachText(doc, func(text string) {
				if t, ok := gone[strings.ToLower(text)]; ok {
					used[t] = key
				}
			})
		}
	}
	return used, nil
}

// eachText calls f for every text value in a JSON tree.
func eachText(v any, f func(string)) {
	switch v := v.(type) {
	case string:
		f(v)
	case []any:
		for _, e := range v {
			eachText(e, f)
		}
	case map[string]any:
		for _, e := range v {
			eachText(e, f)
		}
	}
}
