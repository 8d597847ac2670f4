package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/region"
)

// resourceManager asks the region's Resource Manager as its first principal.
type resourceManager struct{ dir string }

// versions of Resource Manager's own operations that the commands ask.
const (
	groupsVersion      = "2024-11-01"
	deploymentsVersion = "2024-07-01"
	queryVersion       = "2024-04-01"
)

// do makes a request. A refusal is an *arm.Error with its status; out may be nil.
func (m resourceManager) do(ctx context.Context, p armParams, body, out any) (armResult, error) {
	var answer armResult
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return answer, err
		}
		p.Body = b
	}
	if _, err := region.Call(ctx, m.dir, methodARM, p, &answer); err != nil {
		return answer, err
	}
	if answer.Status >= http.StatusBadRequest {
		return answer, refusalOf(answer.Status, answer.Body)
	}
	if out != nil && len(answer.Body) > 0 {
		return answer, json.Unmarshal(answer.Body, out)
	}
	return answer, nil
}

// refusalOf is the error of an answer.
func refusalOf(status int, body []byte) *arm.Error {
	var wrapped struct {
		Error *arm.Error `json:"error"`
	}
	if json.Unmarshal(body, &wrapped) != nil || wrapped.Error == nil || wrapped.Error.Code == "" {
		wrapped.Error = arm.Errorf(status, http.StatusText(status), "Resource Manager answered %d.", status)
	}
	wrapped.Error.Status = status
	return wrapped.Error
}

// wait polls the operation of an answer until it ends; its failure is an *arm.Error.
func (m resourceManager) wait(ctx context.Context, a armResult) error {
	if a.Status != http.StatusAccepted && a.Status != http.StatusCreated || a.Operation == "" {
		return nil
	}
	u, err := url.Parse(a.Operation)
	if err != nil {
		return err
	}
	p := armParams{Method: http.MethodGet, Path: u.Path, Query: map[string]string{}}
	for k := range u.Query() {
		if k == "api-version" {
			p.Version = u.Query().Get(k)
		} else {
			p.Query[k] = u.Query().Get(k)
		}
	}
	for {
		var state struct {
			Status string     `json:"status"`
			Error  *arm.Error `json:"error"`
		}
		polled, err := m.do(ctx, p, nil, &state)
		switch {
		case err != nil:
			return err
		case state.Error != nil:
			return state.Error
		case state.Status == "Failed" || state.Status == "Canceled":
			return arm.Errorf(http.StatusConflict, state.Status, "The operation has ended as %s.", state.Status)
		case polled.Status != http.StatusAccepted && (state.Status == "" || state.Status == "Succeeded"):
			return nil
		}
		select { // the region holds a poll until something happens, for some seconds
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// subscription finds one by its name or id; the region's first one for "".
func (m resourceManager) subscription(ctx context.Context, name string) (string, error) {
	var list struct {
		Value []struct{ SubscriptionID, DisplayName string }
	}
	if _, err := m.do(ctx, armParams{Method: http.MethodGet, Path: "/subscriptions", Version: "2022-12-01"}, nil, &list); err != nil {
		return "", err
	}
	if name == "" {
		name = mainSubscription
	}
	for _, s := range list.Value {
		if strings.EqualFold(s.SubscriptionID, name) || strings.EqualFold(s.DisplayName, name) {
			return s.SubscriptionID, nil
		}
	}
	return "", fmt.Errorf("there is no subscription %q", name)
}

// scope is a resource group by its name, or any resource by its id.
func (m resourceManager) scope(ctx context.Context, name, subscription string) (arm.ID, error) {
	if strings.HasPrefix(name, "/") {
		id, err := arm.ParseID(name)
		if err == nil && id.ResourceGroup() == "" {
			err = fmt.Errorf("%s is no resource group and nothing in one", name)
		}
		return id, err
	}
	sub, err := m.subscription(ctx, subscription)
	if err != nil {
		return arm.ID{}, err
	}
	return arm.ParseID("/subscriptions/" + sub + "/resourceGroups/" + name)
}

// version is the newest api-version of a type.
func (m resourceManager) version(ctx context.Context, typeName string) (string, error) {
	name := arm.ParseTypeName(typeName)
	var p struct {
		ResourceTypes []struct {
			ResourceType string
			APIVersions  []string `json:"apiVersions"`
		}
	}
	if _, err := m.do(ctx, armParams{Method: http.MethodGet, Path: "/providers/" + name.Namespace, Version: "2021-04-01"}, nil, &p); err != nil {
		return "", err
	}
	for _, t := range p.ResourceTypes {
		if strings.EqualFold(t.ResourceType, strings.Join(name.Types, "/")) && len(t.APIVersions) > 0 {
			return t.APIVersions[0], nil
		}
	}
	return "", fmt.Errorf("the region has no type %s", typeName)
}
