package batch

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// CallPort is where the service calls a node that has a public address.
// https://learn.microsoft.com/azure/machine-learning/how-to-secure-training-vnet (compute cluster with public IP)
const CallPort = 44224

// callTime is what a call may take.
const callTime = 10 * time.Second

// ErrStranger: the other end of a call does not know the node's token.
var ErrStranger = errors.New("the other end of the call is not who it should be")

// A call is a challenge from each side, answered under the hash of the node's token, which both know. It ends with a grant: with
// it the node asks, by a Poll of its own, for the work that the call was for, so that no work and no secret comes in by the
// internet.
//
//	service → node: challenge (32 bytes)
//	node → service: challenge, proof of "node"
//	service → node: grant, proof of "service" and grant
//	node → service: one byte, it has it
const challengeSize = sha256.Size

func proof(sum [32]byte, who string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, sum[:])
	h.Write([]byte(who))
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func challenge() []byte {
	b := make([]byte, challengeSize)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program first
	return b
}

// Call calls the node whose token has this hash, and returns the grant that it now has. Errors: ErrStranger, those of the
// connection, which it does not close.
func Call(c net.Conn, token [32]byte) (grant string, err error) {
	if err := c.SetDeadline(time.Now().Add(callTime)); err != nil {
		return "", err
	}
	ours := challenge()
	if _, err := c.Write(ours); err != nil {
		return "", err
	}
	answer := make([]byte, 2*challengeSize)
	if _, err := io.ReadFull(c, answer); err != nil {
		return "", fmt.Errorf("the node does not answer: %w", err)
	}
	theirs := answer[:challengeSize]
	if !hmac.Equal(answer[challengeSize:], proof(token, "node", ours, theirs)) {
		return "", ErrStranger
	}
	given := challenge()
	if _, err := c.Write(append(given[:challengeSize:challengeSize], proof(token, "service", ours, theirs, given)...)); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(c, answer[:1]); err != nil {
		return "", fmt.Errorf("the node does not take the call: %w", err)
	}
	return hex.EncodeToString(given), nil
}

// AnswerCall is the node's side of Call. It says that it has the grant once keep has returned.
func AnswerCall(c net.Conn, token string, keep func(grant string)) error {
	if err := c.SetDeadline(time.Now().Add(callTime)); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(token))
	theirs := make([]byte, challengeSize)
	if _, err := io.ReadFull(c, theirs); err != nil {
		return err
	}
	ours := challenge()
	if _, err := c.Write(append(ours[:challengeSize:challengeSize], proof(sum, "node", theirs, ours)...)); err != nil {
		return err
	}
	answer := make([]byte, 2*challengeSize)
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	given := answer[:challengeSize]
	if !hmac.Equal(answer[challengeSize:], proof(sum, "service", theirs, ours, given)) {
		return ErrStranger
	}
	keep(hex.EncodeToString(given))
	_, err := c.Write([]byte{1})
	return err
}
