package entra

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// graph is the part of Microsoft Graph that clients ask for when they assign roles: service principals.
type graph struct {
	*Directory
	log *slog.Logger
}

// Graph returns the handler of graph.microsoft.com. It serves GET servicePrincipals (with the filters
// that az and Terraform send), GET servicePrincipals/{id}, and POST directoryObjects/getByIds. Callers
// need a Graph permission that reads the directory (GrantGraph).
func (d *Directory) Graph(log *slog.Logger) http.Handler { return &graph{d, log} }

// readers are the application permissions that let a caller read service principals.
var readers = []string{"Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}

type graphError struct {
	status        int
	code, message string
}

func (e *graphError) Error() string { return e.code + ": " + e.message }

func graphNotServed(what string) error {
	return &graphError{http.StatusNotImplemented, "NotImplemented", "This region does not serve " + what + " of Microsoft Graph."}
}

func (g *graph) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := g.route(w, r)
	if err == nil {
		return
	}
	refused := new(graphError)
	if !errors.As(err, &refused) {
		g.log.ErrorContext(r.Context(), "graph", "path", r.URL.Path, "error", err)
		refused = &graphError{http.StatusInternalServerError, "InternalServerError", "The region failed to answer; its log says why."}
	}
	request := correlationID(r)
	writeJSON(w, refused.status, map[string]any{"error": map[string]any{
		"code":    refused.code,
		"message": refused.message,
		"innerError": map[string]string{
			"date":              g.clock.Now().UTC().Format("2006-01-02T15:04:05"),
			"request-id":        request,
			"client-request-id": request,
		},
	}})
}

func (g *graph) route(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("request-id", uuid.NewString())
	if err := g.authorize(r); err != nil {
		return err
	}
	version, rest, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	if version != "v1.0" && version != "beta" {
		return &graphError{http.StatusBadRequest, "BadRequest", "Invalid version: " + printable(version)}
	}
	head, tail, _ := strings.Cut(rest, "/")
	name, key, byKey := strings.Cut(head, "(")
	switch {
	case strings.EqualFold(rest, "servicePrincipals") && r.Method == http.MethodGet:
		return g.list(w, r, version)
	case strings.EqualFold(head, "servicePrincipals") && tail != "" && !strings.Contains(tail, "/") && r.Method == http.MethodGet:
		return g.one(w, r, version, "id", tail)
	case strings.EqualFold(name, "servicePrincipals") && byKey && tail == "" && r.Method == http.MethodGet:
		f, err := parseFilter(strings.Replace(strings.TrimSuffix(key, ")"), "=", " eq ", 1))
		if err != nil || f.op != "eq" || f.field != "appid" {
			return badFilter(key)
		}
		return g.one(w, r, version, "appid", f.value)
	case strings.EqualFold(rest, "directoryObjects/getByIds") && r.Method == http.MethodPost:
		return g.byIDs(w, r, version)
	}
	return graphNotServed(printable(r.Method) + " " + printable(r.URL.Path))
}

func (g *graph) authorize(r *http.Request) error {
	token, err := BearerToken(r)
	var c Caller
	if err == nil {
		c, err = g.Authenticate(r.Context(), token, AudienceGraph)
	}
	if refused := new(TokenError); errors.As(err, &refused) {
		message := refused.Error()
		if refused.Reason == Missing {
			message = "Access token is empty."
		}
		return &graphError{http.StatusUnauthorized, "InvalidAuthenticationToken", message}
	}
	if err != nil {
		return err
	}
	if slices.Contains(c.DirectoryRoles, directory.GlobalAdministrator) {
		return nil
	}
	for _, role := range readers {
		if slices.Contains(c.Roles, role) {
			return nil
		}
	}
	return &graphError{http.StatusForbidden, "Authorization_RequestDenied",
		"Insufficient privileges to complete the operation. The token carries none of the application permissions " + strings.Join(readers, ", ") + "."}
}

const (
	graphPage    = 100
	graphPageMax = 999
	maxGraphBody = 64 << 10 // bytes
)

func (g *graph) list(w http.ResponseWriter, r *http.Request, version string) error {
	q := r.URL.Query()
	f, err := parseFilter(q.Get("$filter"))
	if err != nil {
		return err
	}
	top := graphPage
	if t := q.Get("$top"); t != "" {
		if top, err = strconv.Atoi(t); err != nil || top < 1 || top > graphPageMax {
			return &graphError{http.StatusBadRequest, "BadRequest", "Invalid page size specified: '" + printable(t) + "'. Must be between 1 and 999 inclusive."}
		}
	}
	page := []any{}
	last, more := "", false
	err = g.store.View(r.Context(), func(tx store.Tx) error {
		return g.Principals(tx, g.Tenant().ID, q.Get("$skiptoken"), func(p directory.ServicePrincipal) bool {
			if !f.match(p) {
				return true
			}
			if len(page) == top {
				more = true
				return false
			}
			page = append(page, g.object(p, false))
			last = p.ObjectID
			return true
		})
	})
	if err != nil {
		return err
	}
	out := map[string]any{"@odata.context": graphContext(version, "servicePrincipals"), "value": page}
	if more {
		q.Set("$skiptoken", last)
		out["@odata.nextLink"] = AudienceGraph + "/" + version + "/servicePrincipals?" + q.Encode()
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (g *graph) one(w http.ResponseWriter, r *http.Request, version, field, value string) error {
	var p directory.ServicePrincipal
	err := g.store.View(r.Context(), func(tx store.Tx) (err error) {
		if field == "appid" {
			p, err = g.ByAppID(tx, value)
			return err
		}
		p, err = g.ByObjectID(tx, value)
		return err
	})
	if errors.Is(err, directory.ErrNoPrincipal) {
		return &graphError{http.StatusNotFound, "Request_ResourceNotFound", fmt.Sprintf("Resource '%s' does not exist or one of its queried reference-property objects are not present.", printable(value))}
	}
	if err != nil {
		return err
	}
	o := g.object(p, false)
	o["@odata.context"] = graphContext(version, "servicePrincipals/$entity")
	writeJSON(w, http.StatusOK, o)
	return nil
}

func (g *graph) byIDs(w http.ResponseWriter, r *http.Request, version string) error {
	var body struct {
		IDs   []string `json:"ids"`
		Types []string `json:"types"`
	}
	if json.NewDecoder(http.MaxBytesReader(w, r.Body, maxGraphBody)).Decode(&body) != nil || len(body.IDs) > 1000 {
		return &graphError{http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload: at most 1000 ids, as strings."}
	}
	wanted := len(body.Types) == 0 || slices.ContainsFunc(body.Types, func(t string) bool {
		return strings.EqualFold(t, "servicePrincipal") || strings.EqualFold(t, "directoryObject")
	})
	found := []any{}
	err := g.store.View(r.Context(), func(tx store.Tx) error {
		for _, id := range body.IDs {
			p, err := g.ByObjectID(tx, id)
			if errors.Is(err, directory.ErrNoPrincipal) || err == nil && !wanted {
				continue
			}
			if err != nil {
				return err
			}
			found = append(found, g.object(p, true))
		}
		return nil
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"@odata.context": graphContext(version, "directoryObjects"), "value": found})
	return nil
}

func graphContext(version, set string) string {
	return AudienceGraph + "/" + version + "/$metadata#" + set
}

// object is a servicePrincipal as Graph gives it; typed adds its type, as mixed collections have.
func (g *graph) object(p directory.ServicePrincipal, typed bool) map[string]any {
	kind, alternative := "Application", []string{}
	names := []string{p.AppID}
	if p.Managed() {
		kind = "ManagedIdentity"
		alternative = []string{"isExplicit=" + strconv.FormatBool(p.Identity == directory.UserAssigned), p.Resource}
	}
	secrets := make([]map[string]any, len(p.Secrets))
	for i, s := range p.Secrets {
		secrets[i] = map[string]any{"keyId": s.KeyID, "displayName": s.Name, "hint": s.Hint, "startDateTime": s.Start, "endDateTime": s.End, "secretText": nil}
	}
	o := map[string]any{
		"id":                     p.ObjectID,
		"appId":                  p.AppID,
		"displayName":            p.DisplayName,
		"appDisplayName":         p.DisplayName,
		"accountEnabled":         true,
		"alternativeNames":       alternative,
		"appOwnerOrganizationId": g.Tenant().ID,
		"createdDateTime":        p.Created,
		"servicePrincipalNames":  names,
		"servicePrincipalType":   kind,
		"passwordCredentials":    secrets,
		"tags":                   []string{},
	}
	if typed {
		o["@odata.type"] = "#microsoft.graph.servicePrincipal"
	}
	return o
}
