package signin

import (
	"errors"
	"net/http"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// UserInfo is the handler of graph.microsoft.com/oidc/userinfo (OpenID Connect Core 1.0, 5.3).
func (s *Service) UserInfo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.userInfo(w, r); err != nil {
			s.log.ErrorContext(r.Context(), "user info", "error", err)
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
}

// userInfo says who the user of a token for Microsoft Graph is.
func (s *Service) userInfo(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	token, err := entra.BearerToken(r)
	var c entra.Caller
	if err == nil {
		c, err = s.dir.Authenticate(r.Context(), token, entra.AudienceGraph)
	}
	refused := new(entra.TokenError)
	if errors.As(err, &refused) || err == nil && c.Type != "User" {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": map[string]string{"code": "InvalidAuthenticationToken", "message": "Access token validation failure."}})
		return nil
	}
	if err != nil {
		return err
	}
	var u user
	err = s.store.View(r.Context(), func(tx store.Tx) error {
		u, err = s.dir.User(tx, c.ObjectID)
		return err
	})
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		return err
	}
	out := map[string]string{"sub": entra.Pairwise(u.ID, c.AppID), "name": u.DisplayName, "picture": "https://graph.microsoft.com/v1.0/me/photo/$value"}
	for name, v := range map[string]string{"family_name": u.Surname, "given_name": u.GivenName, "email": u.Mail} {
		if v != "" {
			out[name] = v
		}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}
