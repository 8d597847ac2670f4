package runhistory

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"vauban.dev/ml"
)

// stamp is a time as the services write it: ISO 8601 in UTC, null when it is not set.
type stamp time.Time

func (t stamp) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + time.Time(t).UTC().Format("2006-01-02T15:04:05.0000000+00:00") + `"`), nil
}

func (t *stamp) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return err
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if v, err := time.Parse(layout, *s); err == nil {
			*t = stamp(v.UTC())
			return nil
		}
	}
	return badRequest("'%s' is not an ISO 8601 time.", *s)
}

type experimentBody struct {
	ID          string            `json:"experimentId"`
	Name        string            `json:"name"`
	Description *string           `json:"description"`
	Created     stamp             `json:"createdUtc"`
	Tags        map[string]string `json:"tags"`
	Archived    stamp             `json:"archivedTime"`
	Retain      bool              `json:"retainForLifetimeOfWorkspace"`
	Artifacts   *string           `json:"artifactLocation"`
}

type userBody struct {
	ObjectID string  `json:"userObjectId"`
	PUID     *string `json:"userPuId"`
	IDP      *string `json:"userIdp"`
	AltSecID *string `json:"userAltSecId"`
	Issuer   string  `json:"userIss"`
	TenantID string  `json:"userTenantId"`
	Name     string  `json:"userName"`
	UPN      *string `json:"upn"`
}

type typeBody struct {
	Orchestrator string   `json:"orchestrator,omitempty"`
	Traits       []string `json:"traits"`
	Attribution  string   `json:"attribution,omitempty"`
	ComputeType  string   `json:"computeType,omitempty"`
}

// runBody is Run of the run history API, and RunDetails with its few own fields.
type runBody struct {
	RunNumber        int               `json:"runNumber"`
	RootRunID        string            `json:"rootRunId"`
	Created          stamp             `json:"createdUtc"`
	CreatedBy        userBody          `json:"createdBy"`
	UserID           string            `json:"userId"`
	Error            *errorBody        `json:"error"`
	Warnings         []warningBody     `json:"warnings"`
	UUID             string            `json:"runUuid"`
	ComputeDuration  *string           `json:"computeDuration"`
	EffectiveStart   stamp             `json:"effectiveStartTimeUtc"`
	LastModifiedBy   userBody          `json:"lastModifiedBy"`
	Duration         *string           `json:"duration"`
	ID               string            `json:"runId"`
	Parent           *string           `json:"parentRunId"`
	ExperimentID     string            `json:"experimentId"`
	Status           ml.Status         `json:"status"`
	Start            stamp             `json:"startTimeUtc"`
	End              stamp             `json:"endTimeUtc"`
	DisplayName      string            `json:"displayName"`
	Name             *string           `json:"name"`
	DataContainer    string            `json:"dataContainerId"`
	Description      *string           `json:"description"`
	Hidden           bool              `json:"hidden"`
	RunType          string            `json:"runType"`
	TypeV2           typeBody          `json:"runTypeV2"`
	Properties       map[string]string `json:"properties"`
	Parameters       map[string]string `json:"parameters"`
	ActionURIs       map[string]string `json:"actionUris"`
	Target           string            `json:"target"`
	Tags             map[string]string `json:"tags"`
	Settings         map[string]string `json:"settings"`
	Services         map[string]any    `json:"services"`
	InputDatasets    []json.RawMessage `json:"inputDatasets"`
	OutputDatasets   []json.RawMessage `json:"outputDatasets"`
	RunDefinition    json.RawMessage   `json:"runDefinition"`
	JobSpecification json.RawMessage   `json:"jobSpecification"`
	Inputs           map[string]any    `json:"inputs"`
	Outputs          map[string]any    `json:"outputs"`

	// Of RunDetails only. Clients that stream logs read logFiles before there is one.
	CreatedTime stamp             `json:"createdTimeUtc"`
	LogFiles    map[string]string `json:"logFiles,omitzero"`
}

type warningBody struct {
	Source  string `json:"source"`
	Message string `json:"message"`
}

// description is kept where MLflow keeps it.
const noteTag = "mlflow.note.content"

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func showUser(u ml.User) userBody {
	b := userBody{ObjectID: u.ObjectID, TenantID: u.TenantID, Name: u.Name}
	if u.TenantID != "" {
		b.Issuer = "https://sts.windows.net/" + u.TenantID + "/"
	}
	return b
}

func (q *request) showRun(r *ml.Run, root string) runBody {
	end := r.Ended
	if end.IsZero() && !r.Started.IsZero() {
		end = q.s.Clock.Now()
	}
	b := runBody{
		RunNumber: int(r.Created.Unix()), RootRunID: root, Created: stamp(r.Created), CreatedTime: stamp(r.Created), CreatedBy: showUser(r.User), LastModifiedBy: showUser(r.User),
		UserID: r.User.ObjectID, Warnings: []warningBody{}, UUID: r.ID, EffectiveStart: stamp(r.Started), ID: r.ID, Parent: orNull(r.Parent),
		ExperimentID: r.ExperimentID, Status: r.Status, Start: stamp(r.Started), End: stamp(r.Ended), DisplayName: r.Name,
		DataContainer: r.DataContainer(), Description: orNull(r.Tags[noteTag]), Hidden: r.Deleted, RunType: r.Type,
		TypeV2: typeBody{Traits: []string{r.Type}, Attribution: "UserRun", Orchestrator: "Execution"}, Properties: orEmpty(r.Properties),
		Parameters: orEmpty(r.Params), ActionURIs: map[string]string{}, Target: r.Target, Tags: orEmpty(r.Tags), Settings: map[string]string{},
		Services: map[string]any{}, InputDatasets: []json.RawMessage{}, OutputDatasets: []json.RawMessage{}, Inputs: map[string]any{}, Outputs: map[string]any{},
	}
	if !r.Started.IsZero() {
		d := timeSpan(end.Sub(r.Started))
		b.Duration, b.ComputeDuration = &d, &d
	}
	if r.Error != nil {
		e := q.errorBody(&Error{Code: r.Error.Code, Message: r.Error.Message})
		e.Time = stamp(r.Ended)
		b.Error = &e
	}
	return b
}

// timeSpan writes a duration as .NET does: [d.]hh:mm:ss.fffffff.
func timeSpan(d time.Duration) string {
	d = max(d, 0)
	days := d / (24 * time.Hour)
	t := time.Time{}.Add(d % (24 * time.Hour)).Format("15:04:05.0000000")
	if days > 0 {
		return strconv.Itoa(int(days)) + "." + t
	}
	return t
}

// page is a part of a list; Next is "" on the last.
type page struct {
	Value any     `json:"value"`
	Token *string `json:"continuationToken"`
	Next  *string `json:"nextLink"`
}

// nextPage fills in how to go on: the token, and for what is read with GET the link that has it.
func (q *request) nextPage(value any, next string) page {
	p := page{Value: value}
	if next == "" {
		return p
	}
	token := base64.RawURLEncoding.EncodeToString([]byte(next))
	p.Token = &token
	if q.r.Method == "GET" {
		v := q.r.URL.Query()
		v.Set("continuationToken", token)
		link := "https://" + q.place.host + q.r.URL.EscapedPath() + "?" + v.Encode()
		p.Next = &link
	}
	return p
}

// pageStart is what nextPage was given for the page before; "" on the first.
func pageStart(token string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(token, "="))
	if err != nil {
		return "", badRequest("continuationToken is not one that the workspace gave.")
	}
	return string(b), nil
}

// pageOffset is pageStart for lists that go on at a position.
func pageOffset(token string) (int, error) {
	s, err := pageStart(token)
	if err != nil || s == "" {
		return 0, err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, badRequest("continuationToken is not one that the workspace gave.")
	}
	return n, nil
}
