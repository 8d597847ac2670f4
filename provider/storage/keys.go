package storage

import (
	"context"
	"encoding/json"
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

type key struct {
	KeyName      string `json:"keyName"`
	Value        string `json:"value"`
	Permissions  string `json:"permissions"`
	CreationTime any    `json:"creationTime,omitempty"`
}

func keysOf(r *rp.Resource[Account]) any {
	times := r.Properties.KeyCreationTime
	return map[string]any{"keys": []key{
		{KeyName: "key1", Value: r.Properties.Keys[0], Permissions: "FULL", CreationTime: times.Key1},
		{KeyName: "key2", Value: r.Properties.Keys[1], Permissions: "FULL", CreationTime: times.Key2},
	}}
}

func listKeys(_ context.Context, _ *rp.Tx, r *rp.Resource[Account], _ []byte) (any, error) {
	return keysOf(r), nil
}

// regenerateKey makes a new key; the old one is refused from the commit on.
func regenerateKey(_ context.Context, tx *rp.Tx, r *rp.Resource[Account], body []byte) (any, error) {
	var in struct {
		KeyName string `json:"keyName"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: keyName is missing.")
	}
	k, err := newKey()
	if err != nil {
		return nil, err
	}
	switch in.KeyName {
	case "key1":
		r.Properties.Keys[0], r.Properties.KeyCreationTime.Key1 = k, tx.Now
	case "key2":
		r.Properties.Keys[1], r.Properties.KeyCreationTime.Key2 = k, tx.Now
	default:
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidValuesForRequestParameters", "Values for request parameters are invalid: keyName '%s' is none of key1, key2.", in.KeyName)
	}
	return keysOf(r), nil
}

func checkName(_ context.Context, tx *rp.Tx, _, _ map[string]string, body []byte) (any, error) {
	var in struct{ Name, Type string }
	if err := json.Unmarshal(body, &in); err != nil || in.Name == "" {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: name is missing.")
	}
	type answer struct {
		NameAvailable bool   `json:"nameAvailable"`
		Reason        string `json:"reason,omitempty"`
		Message       string `json:"message,omitempty"`
	}
	if !namePattern.MatchString(in.Name) {
		return answer{Reason: "AccountNameInvalid", Message: in.Name + " is not a valid storage account name. " + nameRule}, nil
	}
	free, err := names.Free(tx, in.Name)
	if err != nil {
		return nil, err
	}
	if !free {
		return answer{Reason: "AlreadyExists", Message: "The storage account named " + in.Name + " is already taken."}, nil
	}
	return answer{NameAvailable: true}, nil
}
