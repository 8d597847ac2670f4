package batch

import (
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"testing"
)

// called is a call between a service that has one token's hash and a node that has another token, perhaps the same.
func called(t *testing.T, sum [32]byte, token string) (grant, kept string, service, node error) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- AnswerCall(b, token, func(g string) { kept = g })
		_ = b.Close()
	}()
	grant, service = Call(a, sum)
	_ = a.Close()
	node = <-done
	return grant, kept, service, node
}

func TestCall(t *testing.T) {
	token, sum := MintToken()
	grant, kept, service, node := called(t, sum, token)
	if service != nil || node != nil || grant == "" || grant != kept {
		t.Fatalf("grant %q, the node has %q; %v, %v", grant, kept, service, node)
	}
	if again, _, _, _ := called(t, sum, token); again == grant {
		t.Error("two calls have one grant")
	}
}

func TestCallStrangers(t *testing.T) {
	token, sum := MintToken()
	other, otherSum := MintToken()
	if _, kept, service, _ := called(t, sum, other); !errors.Is(service, ErrStranger) || kept != "" {
		t.Errorf("another node is believed: %v, it has %q", service, kept)
	}
	if _, kept, service, _ := called(t, otherSum, token); !errors.Is(service, ErrStranger) || kept != "" {
		t.Errorf("a service that knows another hash is believed: %v, the node has %q", service, kept)
	}
	// Who repeats what it has seen of a call gets no further: its challenge was another.
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- AnswerCall(b, token, func(string) { t.Error("the node took a grant from somebody who repeats") })
		_ = b.Close()
	}()
	if _, err := a.Write(make([]byte, challengeSize)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 2*challengeSize)
	if _, err := io.ReadFull(a, answer); err != nil {
		t.Fatal(err)
	}
	given := make([]byte, challengeSize)
	if _, err := a.Write(append(given, proof(sum, "service", make([]byte, challengeSize), make([]byte, challengeSize), given)...)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrStranger) {
		t.Errorf("a repeated proof: %v", err)
	}
}

// FuzzAnswerCall: nothing that a stranger sends makes a node take a grant, or panic.
func FuzzAnswerCall(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(make([]byte, 3*challengeSize))
	sum := sha256.Sum256([]byte("another"))
	f.Add(append(make([]byte, 2*challengeSize), sum[:]...))
	f.Fuzz(func(t *testing.T, sent []byte) {
		a, b := net.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- AnswerCall(b, "token", func(string) { t.Error("the node took a grant") })
			_ = b.Close()
		}()
		go func() { _, _ = io.Copy(io.Discard, a) }()
		_, _ = a.Write(sent)
		_ = a.Close()
		if err := <-done; err == nil {
			t.Error("the call went well")
		}
	})
}
