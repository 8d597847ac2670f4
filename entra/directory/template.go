package directory

// RoleTemplate is a built-in directory role ("Microsoft Entra built-in roles").
type RoleTemplate struct {
	ID          string
	Name        string
	Description string
	Actions     []string
}

// The roles that the region itself assigns or asks for, by template id.
const (
	GlobalAdministrator = "62e90394-69f5-4237-9190-012177145e10"
)

// RoleTemplateBy returns the built-in role with this template id.
func RoleTemplateBy(id string) (RoleTemplate, bool) {
	for _, t := range RoleTemplates {
		if t.ID == fold(id) {
			return t, true
		}
	}
	return RoleTemplate{}, false
}

// RoleTemplates are the built-in roles that a region knows.
var RoleTemplates = []RoleTemplate{{ID: GlobalAdministrator, Name: "Global Administrator"}}
