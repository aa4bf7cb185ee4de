package redfish

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gild-dev/gild/internal/power"
)

// answerError is a refusal of a BMC.
type answerError struct {
	status int
	ids    string // of its messages
	text   string
}

func newAnswerError(a answer) error {
	e := &answerError{status: a.status, text: messages(a.body)}
	for _, m := range a.body.at("error").list("@Message.ExtendedInfo") {
		e.ids += " " + m.text("MessageId")
	}
	e.ids += " " + a.body.at("error").text("code")
	return e
}

func (e *answerError) Error() string {
	return shown(strings.TrimSuffix(fmt.Sprintf("the BMC answered %d %s: %s", e.status, http.StatusText(e.status), e.text), ": "))
}

// says reports whether one of its messages has one of some identifiers.
func (e *answerError) says(any ...string) bool {
	for _, id := range any {
		if strings.Contains(e.ids, id) {
			return true
		}
	}
	return false
}

// messages are what a BMC says in words.
func messages(o object) string {
	var all []string
	for _, m := range append(o.at("error").list("@Message.ExtendedInfo"), o.list("Messages")...) {
		all = append(all, m.text("Message"))
	}
	if len(all) == 0 {
		return o.at("error").text("message")
	}
	return strings.Join(all, " ")
}

// status is that of a refusal; 0: it is none.
func status(err error) int {
	if e, ok := errors.AsType[*answerError](err); ok {
		return e.status
	}
	return 0
}

// kind finds out what a refusal means.
func (e *answerError) kind() power.Kind {
	switch {
	case e.says("PasswordChangeRequired"):
		return power.Denied
	// In the middle of POST, or right after the power went off.
	case e.says("InvalidOperationForSystemState", "UnableToModifyDuringSystemPOST", "ActionParameterValueConflict", "SYS518",
		"ServiceTemporarilyUnavailable"):
		return power.Busy
	}
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return power.Denied
	case http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return power.Busy
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return power.Unsupported
	}
	return power.Failed
}

// failure finds the kind of an error. The password is cut from what a BMC may
// have sent back.
func (c *client) failure(op string, err error) error {
	if err == nil {
		return nil
	}
	if ours, ok := errors.AsType[*power.Error](err); ok {
		return ours // also from within a handshake
	}
	if refused, ok := errors.AsType[*answerError](err); ok {
		if c.password != "" {
			refused.text = strings.ReplaceAll(refused.text, c.password, "***")
		}
		out := &power.Error{Kind: refused.kind(), Op: op, Err: refused}
		if refused.says("PasswordChangeRequired") {
			out.Help = "the BMC wants another password first: change it there, then give the new one (gild machine edit NAME --power-secret FILE)"
		}
		return out
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	if unknown || verification {
		return &power.Error{
			Kind: power.Untrusted, Op: op, Err: errors.New(shown(err.Error())),
			Help: "give gild serve the CA that signs for BMCs (--bmc-ca), or pin the certificate of this one: gild machine edit NAME " +
				"--power-pin PIN",
		}
	}
	return power.Classify(op, err)
}
