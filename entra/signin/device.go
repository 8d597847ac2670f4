package signin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"vauban.dev/entra"
	"vauban.dev/store"
)

const (
	kindDevice   = "entra.device"   // key: ticket's key
	kindUserCode = "entra.usercode" // key: user code; value: key of the device code
)

const (
	deviceLife     = 15 * time.Minute
	deviceInterval = 5 * time.Second
	deviceGrant    = "urn:ietf:params:oauth:grant-type:device_code"
)

// deviceCode is one authorization of a device (RFC 8628).
type deviceCode struct {
	UserCode     string        `json:"userCode"`
	Tenant       string        `json:"tenant"`
	V2           bool          `json:"v2"`
	ClientID     string        `json:"clientId"`
	Scope        scopeRequest  `json:"scope"`
	Capabilities []string      `json:"cc,omitempty"`
	Address      string        `json:"address"` // where it was asked for
	Expires      time.Time     `json:"expires"`
	Declined     bool          `json:"declined,omitempty"`
	Redeemed     bool          `json:"redeemed,omitempty"`
	Family       *entra.Family `json:"family,omitempty"` // once it is approved
}

// userCodeLetters are the characters of user codes: no vowels, so that no words appear, and nothing that looks
// like something else (RFC 8628, 6.1).
const userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ23456789"

const userCodeLength = 9

func newUserCode() (string, error) {
	b := make([]byte, userCodeLength)
	for i := range b {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(userCodeLetters))))
		if err != nil {
			return "", err
		}
		b[i] = userCodeLetters[n.Int64()]
	}
	return string(b), nil
}

// userCodeKey is what a user typed, in the form of keys; "" for what is no code.
func userCodeKey(text string) string {
	text = strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(text))
	if len(text) != userCodeLength || strings.Trim(text, userCodeLetters) != "" {
		return ""
	}
	return text
}

// deviceStart is the device authorization endpoint.
func (s *Service) deviceStart(w http.ResponseWriter, r *http.Request, tenant string, v2 bool) error {
	if r.Method != http.MethodPost {
		return wrongMethod(r.Method)
	}
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	id := form.Get("client_id")
	if id == "" {
		return missingParameter("client_id")
	}
	scope, err := deviceScope(form.Get("scope"), form.Get("resource"), v2)
	if err != nil {
		return err
	}
	caps, err := declaredCapabilities(form.Get("claims"))
	if err != nil {
		return err
	}
	if !s.tickets.allow(place(r).Address) {
		return tooManyTries()
	}
	d := deviceCode{Tenant: tenant, V2: v2, Scope: scope, Capabilities: caps, Address: place(r).Address.String(), Expires: s.clock.Now().Add(deviceLife)}
	if d.UserCode, err = newUserCode(); err != nil {
		return err
	}
	ticket, key := newTicket(d.Expires)
	err = s.store.Update(r.Context(), func(tx store.Tx) error {
		t, err := s.tenantOf(tx, tenant, nil)
		if err != nil {
			return err
		}
		c, err := s.client(tx, t, id)
		if err != nil {
			return err
		}
		if !c.public() {
			return needsCredential()
		}
		if _, err := s.target(tx, t, scope.Resource); err != nil {
			return err
		}
		d.ClientID = c.AppID
		if err := s.sweepDevices(tx); err != nil {
			return err
		}
		if err := putDoc(tx, kindDevice, key, d); err != nil {
			return err
		}
		_, err = tx.Put(kindUserCode, d.UserCode, []byte(key), store.None)
		return err
	})
	if err != nil {
		return err
	}
	uri := s.base(r) + "/common/oauth2/deviceauth"
	life, interval := int(deviceLife.Seconds()), int(deviceInterval.Seconds())
	message := fmt.Sprintf("To sign in to the Vauban region %s (this is not Microsoft), open the page %s in a browser inside the region and enter the code %s to authenticate; or, in a terminal, run: vauban user approve %s", s.tenant.Name, uri, d.UserCode, d.UserCode)
	out := map[string]any{"device_code": ticket, "user_code": d.UserCode, "verification_uri": uri, "expires_in": life, "interval": interval, "message": message}
	if !v2 {
		delete(out, "verification_uri")
		out["verification_url"], out["expires_in"], out["interval"] = uri, fmt.Sprint(life), fmt.Sprint(interval)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func deviceScope(scope, resource string, v2 bool) (scopeRequest, error) {
	if !v2 && scope == "" {
		if resource == "" {
			return scopeRequest{}, missingParameter("resource")
		}
		return resourceScope(resource), nil
	}
	return parseScopes(scope)
}

// sweepDevices forgets codes that are over, with their user codes.
func (s *Service) sweepDevices(tx store.Tx) error {
	limit := fmt.Sprintf("%012x", s.clock.Now().Add(-time.Hour).Unix())
	var codes []string
	var bad error
	err := tx.Scan(kindDevice, "", "", func(doc store.Doc) bool {
		var d deviceCode
		if doc.Key >= limit || len(codes) >= sweepBatch {
			return false
		}
		if bad = getDocValue(doc, &d); bad == nil {
			codes = append(codes, d.UserCode)
		}
		return bad == nil
	})
	err = errors.Join(err, bad)
	for _, c := range codes {
		if e := tx.Delete(kindUserCode, c, store.Any); !errors.Is(e, store.ErrNotFound) {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, sweep(tx, kindDevice, s.clock.Now()))
}

// devicePage is where users type the code that a device shows.
func (s *Service) devicePage(w http.ResponseWriter, r *http.Request) error {
	return s.showPage(w, r, &flow{}, http.StatusOK, "device", page{Title: "Enter code", Hint: userCodeKey(r.URL.Query().Get("otc"))})
}

// enterCode takes the code.
func (s *Service) enterCode(w http.ResponseWriter, r *http.Request, f *flow) error {
	if !s.tries.allow(place(r).Address) {
		return tooManyTries()
	}
	key, err := s.deviceByUserCode(r.Context(), r.PostForm.Get("otc"))
	if errors.Is(err, errNoDevice) {
		return s.showPage(w, r, &flow{}, http.StatusForbidden, "device", page{Title: "Enter code", Error: "That code is not valid, or it has expired. Codes hold for 15 minutes."})
	}
	if err != nil {
		return err
	}
	f = &flow{Device: key}
	if err := s.resume(r, f); err != nil {
		return err
	}
	return s.advance(w, r, f)
}

var errNoDevice = errors.New("signin: no such device code")

// deviceByUserCode finds the key of a code that waits for its user.
func (s *Service) deviceByUserCode(ctx context.Context, text string) (key string, err error) {
	code := userCodeKey(text)
	if code == "" {
		return "", errNoDevice
	}
	err = s.store.View(ctx, func(tx store.Tx) error {
		doc, err := tx.Get(kindUserCode, code)
		if err != nil {
			return err
		}
		key = string(doc.Value)
		_, err = s.waiting(tx, key)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return "", errNoDevice
	}
	return key, err
}

// waiting reads a device code that waits for its user; errNoDevice.
func (s *Service) waiting(tx store.Tx, key string) (d deviceCode, err error) {
	err = getDoc(tx, kindDevice, key, &d)
	if errors.Is(err, store.ErrNotFound) || err == nil && (d.Declined || d.Redeemed || d.Family != nil || !s.clock.Now().Before(d.Expires)) {
		return d, errNoDevice
	}
	return d, err
}

// deviceByKey is waiting in a transaction of its own; the error is for the user.
func (s *Service) deviceByKey(ctx context.Context, key string) (d deviceCode, err error) {
	err = s.store.View(ctx, func(tx store.Tx) error {
		d, err = s.waiting(tx, key)
		return err
	})
	if errors.Is(err, errNoDevice) {
		return d, &pageError{http.StatusBadRequest, "The code has been used, or it has expired. Start again on the device."}
	}
	return d, err
}

// approveDevice gives the device what its user has agreed to.
func (s *Service) approveDevice(w http.ResponseWriter, r *http.Request, f *flow, fam entra.Family) error {
	if err := s.settleDevice(r.Context(), f.Device, func(d *deviceCode) { d.Family = &fam }); err != nil {
		return err
	}
	return s.show(w, http.StatusOK, "message", "", page{Title: "You are signed in", Lines: []string{"The application on your device has been signed in. You may close this page."}})
}

func (s *Service) declineDevice(w http.ResponseWriter, r *http.Request, f *flow) error {
	if err := s.settleDevice(r.Context(), f.Device, func(d *deviceCode) { d.Declined = true }); err != nil {
		return err
	}
	return s.show(w, http.StatusOK, "message", "", page{Title: "Declined", Lines: []string{"The device gets nothing. You may close this page."}})
}

func (s *Service) settleDevice(ctx context.Context, key string, change func(*deviceCode)) error {
	err := s.store.Update(ctx, func(tx store.Tx) error {
		d, err := s.waiting(tx, key)
		if err != nil {
			return err
		}
		change(&d)
		return putDoc(tx, kindDevice, key, d)
	})
	if errors.Is(err, errNoDevice) {
		return &pageError{http.StatusConflict, "The code has been used, or it has expired. Start again on the device."}
	}
	return err
}

// polls remembers when devices asked last, in memory: too early an answer is slow_down.
type polls struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// early notes a poll and reports whether it came before its time.
func (p *polls) early(key string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, known := p.last[key]
	if len(p.last) >= maxBuckets {
		clear(p.last)
	}
	p.last[key] = now
	return known && now.Sub(last) < deviceInterval-time.Second // clients' timers are not exact
}

func (p *polls) forget(key string) {
	p.mu.Lock()
	delete(p.last, key)
	p.mu.Unlock()
}
