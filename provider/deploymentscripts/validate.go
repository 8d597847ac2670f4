package deploymentscripts

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/internal/isotime"
)

const (
	cli        = "AzureCLI"
	powerShell = "AzurePowerShell"

	maxEnvironment = 64 << 10 // bytes, Azure's
	maxContent     = 1 << 20
	maxArguments   = 32 << 10
	maxSupporting  = 32
)

var kinds = map[string]bool{cli: true, powerShell: true}

var (
	variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,127}$`)
	groupForm    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	versionForm  = regexp.MustCompile(`^\d{1,4}(\.\d{1,6}){1,3}$`)
)

func bad(code, format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, code, format, args...)
}

// invalid is the refusal of a property.
func invalid(format string, args ...any) *arm.Error {
	return bad("DeploymentScriptInvalidOperation", format, args...)
}

func (p *Provider) validate(_ rp.Op, new, _ *rp.Resource[Script]) error {
	s := &new.Properties
	switch {
	case new.Kind == "":
		return invalid("The property 'kind' is required: it is one of AzureCLI and AzurePowerShell.")
	case !kinds[new.Kind]:
		return invalid("The kind '%s' is not valid: it is one of AzureCLI and AzurePowerShell.", clip(new.Kind))
	case new.Identity != nil && (new.Identity.PrincipalID != "" || strings.HasPrefix(new.Identity.Type, "SystemAssigned")):
		return invalid("identity.type '%s' is not supported: a deployment script has user-assigned identities only.", new.Identity.Type)
	}
	for _, check := range []func() error{
		func() error { return s.validateVersion(new.Kind) }, s.validateContent, s.validateTimes, s.validateEnvironment, s.validateContainer, s.validateStorage,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	switch {
	case new.Kind == powerShell:
		return arm.NotImplemented("Deployment scripts of the kind AzurePowerShell are not implemented: the region has no PowerShell. Those of the kind AzureCLI run.")
	case identity(new.Identity) != "" && !p.cfg.CLI:
		return arm.NotImplemented("The script has an identity to sign in as, and the region has no Azure CLI: start it with --image %s=DIRECTORY, a Python environment with the package azure-cli.", CLIImage)
	}
	return nil
}

// CLIImage is the reference of the environment with the Azure CLI (`vauban up --image`).
const CLIImage = "mcr.microsoft.com/azure-cli"

func (s *Script) validateVersion(kind string) error {
	name, version := "azCliVersion", s.CLIVersion
	if kind == powerShell {
		name, version = "azPowerShellVersion", s.PowerShellVersion
	}
	switch {
	case version == "":
		return invalid("The property '%s' is required for a script of the kind %s.", name, kind)
	case !versionForm.MatchString(version):
		return invalid("The value '%s' of the property '%s' is not a version of the form 2.52.0.", clip(version), name)
	}
	return nil
}

func (s *Script) validateContent() error {
	switch {
	case s.Content == "" && s.PrimaryURI == "":
		return invalid("One of the properties 'scriptContent' and 'primaryScriptUri' is required.")
	case s.Content != "" && s.PrimaryURI != "":
		return invalid("The properties 'scriptContent' and 'primaryScriptUri' cannot both be specified.")
	case len(s.Content) > maxContent:
		return invalid("scriptContent has %d bytes; it may have %d.", len(s.Content), maxContent)
	case strings.ContainsRune(s.Content, 0) || strings.ContainsRune(s.Arguments, 0):
		return invalid("scriptContent and arguments cannot contain the character NUL.")
	case len(s.Arguments) > maxArguments:
		return invalid("arguments has %d bytes; it may have %d.", len(s.Arguments), maxArguments)
	case len(s.SupportingURIs) > maxSupporting:
		return invalid("supportingScriptUris has %d entries; it may have %d.", len(s.SupportingURIs), maxSupporting)
	}
	uris := s.SupportingURIs
	if s.PrimaryURI != "" {
		uris = append([]string{s.PrimaryURI}, uris...)
	}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return invalid("'%s' is not the URI of a script.", clip(withoutQuery(text)))
		}
	}
	return nil
}

func withoutQuery(uri string) string {
	before, _, _ := strings.Cut(uri, "?")
	return before
}

func (s *Script) validateTimes() error {
	if s.Retention == "" {
		return invalid("The property 'retentionInterval' is required.")
	}
	for _, d := range []struct {
		name, value string
		least, most time.Duration
		inWords     string
	}{
		{"retentionInterval", s.Retention, time.Hour, 26 * time.Hour, "between PT1H and PT26H"},
		{"timeout", s.Timeout, time.Second, 24 * time.Hour, "at most P1D"},
	} {
		v, err := isotime.ParseDuration(d.value)
		if err != nil || v < d.least || v > d.most {
			return invalid("The value '%s' of the property '%s' is not valid: it is an ISO 8601 duration, %s.", clip(d.value), d.name, d.inWords)
		}
	}
	switch s.Cleanup {
	case "Always", "OnSuccess", "OnExpiration":
		return nil
	}
	return invalid("The value '%s' of the property 'cleanupPreference' is not valid: it is one of Always, OnSuccess and OnExpiration.", clip(s.Cleanup))
}

func (s *Script) validateEnvironment() error {
	size, seen := 0, map[string]bool{}
	for i, v := range s.Environment {
		size += len(v.Name) + len(v.Value) + len(v.Secure) + 2
		switch {
		case !variableForm.MatchString(v.Name):
			return invalid("environmentVariables[%d].name '%s' is not the name of an environment variable.", i, clip(v.Name))
		case seen[v.Name]:
			return invalid("The environment variable '%s' is specified twice.", v.Name)
		case v.Value != "" && v.Secure != "":
			return invalid("The environment variable '%s' has both a value and a secureValue.", v.Name)
		case strings.ContainsRune(v.Value, 0) || strings.ContainsRune(v.Secure, 0):
			return invalid("The environment variable '%s' contains the character NUL.", v.Name)
		}
		seen[v.Name] = true
	}
	if size > maxEnvironment {
		return invalid("The environment variables have %d bytes; they may have %d.", size, maxEnvironment)
	}
	return nil
}

func (s *Script) validateContainer() error {
	c := s.Container
	if c == nil {
		return nil
	}
	if c.Group != "" && (!groupForm.MatchString(c.Group) || strings.Contains(c.Group, "--")) {
		return bad("DeploymentScriptContainerGroupNameInvalid", "The container group name '%s' is invalid: it has 1 to 63 lowercase letters, numbers and dashes, begins and ends with a letter or a number, and has no two dashes in a row.", clip(c.Group))
	}
	if len(c.Subnets) > 1 {
		return invalid("containerSettings.subnetIds has %d entries; a container stands in one subnet.", len(c.Subnets))
	}
	if _, ok := s.subnet(); len(c.Subnets) == 1 && !ok {
		return invalid("containerSettings.subnetIds[0].id '%s' is not the id of a subnet.", clip(c.Subnets[0].ID))
	}
	return nil
}

func (s *Script) validateStorage() error {
	switch v := s.Storage; {
	case v == nil || v.Account == "" && v.Key == "":
		return nil
	case v.Account == "":
		return invalid("storageAccountSettings.storageAccountName is required.")
	case v.Key == "" && (s.Container == nil || len(s.Container.Subnets) == 0):
		// In a subnet the account is opened by the identity.
		return bad("DeploymentScriptStorageAccountAccessKeyNotSpecified", "The access key has not been specified for the existing storage account '%s'.", clip(v.Account))
	}
	return nil
}

// clip bounds what of a client's value is in a message.
func clip(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	s = s[:most]
	for !utf8.ValidString(s) && s != "" {
		s = s[:len(s)-1]
	}
	return s + "…"
}
