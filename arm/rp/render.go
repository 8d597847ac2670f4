package rp

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"vauban.dev/arm"
)

// render makes the body that an answer in this api-version shows of rec.
func (tx *Tx) render(ctx context.Context, d *definition, rec *record, version string) (map[string]any, error) {
	res, err := d.load(rec)
	if err != nil {
		return nil, err
	}
	if d.present != nil {
		if err := d.present(ctx, tx, res); err != nil {
			return nil, err
		}
	}
	d.hide(res)
	known, err := d.encode(version, res)
	if err != nil {
		return nil, fmt.Errorf("rp: encoding %s: %w", rec.ID, err)
	}
	shown := *rec
	if err := d.unload(res, &shown); err != nil { // Present may have set members of the envelope
		return nil, err
	}
	properties, _ := overlay(known, map[string]any(rec.Sent)).(map[string]any)
	if properties == nil {
		properties = map[string]any{}
	}
	properties = maps.Clone(properties)
	if d.stateProperty != "-" {
		properties[d.stateName()] = string(rec.State)
	}
	for property, child := range d.inline {
		if properties[property], err = tx.embedded(ctx, child, rec.id, version); err != nil {
			return nil, err
		}
	}
	body := shown.envelope()
	body["type"] = d.name.String()
	body["properties"] = properties
	if d.etagName != "" {
		body[d.etagName] = rec.ETag
	}
	return body, nil
}

func (d *definition) stateName() string {
	if d.stateProperty == "" {
		return "provisioningState"
	}
	return d.stateProperty
}

// embedded renders the children of a type that their parent shows.
func (tx *Tx) embedded(ctx context.Context, child string, parent arm.ID, version string) ([]any, error) {
	d, err := tx.engine.definition(arm.ParseTypeName(child))
	if err != nil {
		return nil, err
	}
	recs, err := tx.scan(d, parent)
	if err != nil {
		return nil, err
	}
	list := make([]any, 0, len(recs))
	for _, rec := range recs {
		if len(rec.id.Names()) != len(parent.Names())+1 {
			continue
		}
		body, err := tx.render(ctx, d, rec, version)
		if err != nil {
			return nil, err
		}
		list = append(list, body)
	}
	return list, nil
}

// envelope is the body without type and properties.
func (rec *record) envelope() map[string]any {
	body := map[string]any{"id": rec.ID, "name": rec.id.Name()}
	for k, v := range rec.Extra {
		body[k] = v
	}
	if rec.Location != "" {
		body["location"] = rec.Location
	}
	if rec.Tags != nil {
		body["tags"] = rec.Tags
	}
	if rec.Kind != "" {
		body["kind"] = rec.Kind
	}
	if len(rec.SKU) > 0 {
		body["sku"] = json.RawMessage(rec.SKU)
	}
	if rec.Identity != nil {
		body["identity"] = rec.Identity
	}
	if len(rec.Zones) > 0 {
		body["zones"] = rec.Zones
	}
	if rec.SystemData != (arm.SystemData{}) {
		body["systemData"] = rec.SystemData
	}
	return body
}

// stamp is a time as ARM writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }
