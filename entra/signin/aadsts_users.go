package signin

import (
	"fmt"
	"net/http"
	"time"
)

// Refusals of sign-ins for users ("Microsoft Entra authentication and authorization error codes").

func refuse(status int, kind string, code int, format string, args ...any) *signInError {
	return &signInError{status: status, kind: kind, code: code, text: fmt.Sprintf(format, args...)}
}

func invalidGrant(code int, format string, args ...any) *signInError {
	return refuse(http.StatusBadRequest, "invalid_grant", code, format, args...)
}

func badRedirect(uri, appID string) *signInError {
	return refuse(http.StatusBadRequest, "invalid_request", 50011,
		"The redirect URI '%s' specified in the request does not match the redirect URIs configured for the application '%s'. Make sure the redirect URI sent in the request matches one added to your application in the Azure portal. Navigate to https://aka.ms/redirectUriMismatchError to learn more about how to troubleshoot this error.", printable(uri), printable(appID))
}

func noRedirect() *signInError {
	return refuse(http.StatusBadRequest, "invalid_request", 900971, "No reply address provided.")
}

func wrongPassword() *signInError {
	return invalidGrant(50126, "Error validating credentials due to invalid username or password.")
}

func accountLocked() *signInError {
	return invalidGrant(50053, "The account is locked, you've tried to sign in too many times with an incorrect user ID or password.")
}

func tooManyTries() *signInError {
	return refuse(http.StatusTooManyRequests, "temporarily_unavailable", 90055, "There are too many incoming requests from this address. Wait a minute and try again.")
}

func accountDisabled() *signInError {
	return invalidGrant(50057, "The user account is disabled.")
}

func passwordExpired() *signInError {
	return invalidGrant(50055, "The password is expired: sign in on the sign-in page to set another one.")
}

func mustSignIn() *signInError {
	return refuse(http.StatusBadRequest, "login_required", 50058, "A silent sign-in request was sent but no user is signed in.")
}

func needsFactor(resource string) *signInError {
	return refuse(http.StatusBadRequest, "interaction_required", 50076,
		"Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '%s'.", resource)
}

func needsFreshSignIn(issued time.Time) *signInError {
	return invalidGrant(70043, "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access. The token was issued on %s.", issued.UTC().Format(time.RFC3339))
}

func blockedByPolicy(policies string) *signInError {
	return refuse(http.StatusBadRequest, "access_denied", 53003,
		"Access has been blocked by Conditional Access policies. The access policy does not allow token issuance. Policies: %s.", printable(policies))
}

func notConsented(appID, name string) *signInError {
	return refuse(http.StatusBadRequest, "consent_required", 65001,
		"The user or administrator has not consented to use the application with ID '%s' named '%s'. Send an interactive authorization request for this user and resource.", appID, printable(name))
}

func needsAdmin(name string) *signInError {
	return refuse(http.StatusBadRequest, "consent_required", 90094,
		"Admin consent is required for the permissions that '%s' requests.", printable(name))
}

func declinedConsent() *signInError {
	return refuse(http.StatusBadRequest, "access_denied", 65004, "User declined to consent to access the app.")
}

func cancelled() *signInError {
	return refuse(http.StatusBadRequest, "access_denied", 50203, "The user has cancelled the authentication.")
}

func codeRedeemed() *signInError {
	return invalidGrant(54005, "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.")
}

func badCode() *signInError {
	return invalidGrant(9002313, "Invalid request. Request is malformed or invalid.")
}

func expiredCode() *signInError {
	return invalidGrant(70008, "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.")
}

func wrongVerifier() *signInError {
	return invalidGrant(501481, "The Code_Verifier does not match the code_challenge supplied in the authorization request.")
}

func unexpectedVerifier() *signInError {
	return invalidGrant(501481, "The Code_Verifier does not match the code_challenge supplied in the authorization request: there was none.")
}

func pkceRequired() *signInError {
	return refuse(http.StatusBadRequest, "invalid_request", 9002325, "Proof Key for Code Exchange is required for cross-origin authorization code redemption.")
}

func badChallenge(why string) *signInError {
	return refuse(http.StatusBadRequest, "invalid_request", 501491, "Invalid code_challenge: %s", why)
}

func badRefreshToken() *signInError {
	return invalidGrant(70000, "The provided value for the input parameter 'refresh_token' is not valid.")
}

func reusedRefreshToken() *signInError {
	return invalidGrant(70000, "The refresh token was used before: all tokens of this authorization have been revoked. Sign in again.")
}

func revokedGrant(when time.Time) *signInError {
	return invalidGrant(50173, "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password, or an administrator revoked the sessions. The tokens valid from timestamp is %s.", when.UTC().Format(time.RFC3339))
}

func publicWithCredential() *signInError {
	return refuse(http.StatusUnauthorized, "invalid_client", 700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.")
}

func needsCredential() *signInError {
	return refuse(http.StatusUnauthorized, "invalid_client", 7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
}

func badAssertion(why string) *signInError {
	return refuse(http.StatusUnauthorized, "invalid_client", 700027, "The certificate with identifier used to sign the client assertion is not registered on the application, or the assertion is invalid: %s", why)
}

func expiredAssertion(why string) *signInError {
	return refuse(http.StatusUnauthorized, "invalid_client", 700024, "Client assertion is not within its valid time range. %s", why)
}

func noFederatedMatch(issuer, subject, audience string) *signInError {
	return refuse(http.StatusUnauthorized, "invalid_client", 700213,
		"No matching federated identity record found for presented assertion. Assertion Issuer: '%s'. Assertion Subject: '%s'. Assertion Audience: '%s'. https://docs.microsoft.com/en-us/azure/active-directory/develop/workload-identity-federation", printable(issuer), printable(subject), printable(audience))
}

func badUserAssertion(why string) *signInError {
	return invalidGrant(50013, "Assertion failed validation: %s", why)
}

func authorizationPending() *signInError {
	return refuse(http.StatusBadRequest, "authorization_pending", 70016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
}

func slowDown() *signInError {
	return refuse(http.StatusBadRequest, "slow_down", 70016, "OAuth 2.0 device flow error. The client polls too often: wait for the interval, and five seconds more.")
}

func authorizationDeclined() *signInError {
	return refuse(http.StatusBadRequest, "authorization_declined", 70017, "The end-user declined the authorization request.")
}

func badDeviceCode() *signInError {
	return refuse(http.StatusBadRequest, "bad_verification_code", 70018, "The device_code is not known, or was redeemed before.")
}

func expiredDeviceCode() *signInError {
	return refuse(http.StatusBadRequest, "expired_token", 70020, "The provided value for the input parameter 'device_code' is not valid: it has expired.")
}

func disabledApplication(appID string) *signInError {
	return refuse(http.StatusUnauthorized, "unauthorized_client", 7000112, "Application '%s' is disabled.", appID)
}

func badUserScope(scope string) *signInError {
	return refuse(http.StatusBadRequest, "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid. The scope '%s' is not valid.", printable(scope))
}

func severalResources(scope string) *signInError {
	return refuse(http.StatusBadRequest, "invalid_request", 28000, "Provided value for the input parameter scope is not valid because it contains more than one resource. Scope %s is not valid.", printable(scope))
}

func unsupportedResponse(what string) *signInError {
	return refuse(http.StatusBadRequest, "unsupported_response_type", 70005, "The app returned an unsupported value for the response_type '%s'.", printable(what))
}

func passwordGrantOff() *signInError {
	return refuse(http.StatusBadRequest, "unauthorized_client", 7000218, "The grant type 'password' is switched off in this region, as Microsoft recommends: it takes no second factor. 'vauban up --password-grant' turns it on.")
}

func noConsumers() *signInError {
	return refuse(http.StatusBadRequest, "invalid_request", 9002332, "The /consumers endpoint is not served: a region signs in work or school accounts of its tenants only. Use a tenant-specific endpoint or /organizations.")
}

func notAssigned(upn, appID string) *signInError {
	return refuse(http.StatusBadRequest, "interaction_required", 50105, "The signed in user '%s' is not assigned to a role for the application '%s'. Assign the user to the application.", printable(upn), appID)
}
