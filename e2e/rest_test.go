package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// restProgram sends one request from the place where it runs and prints the answer: status and code, then
// the message or the body.
//
//	rest [-token T] [-dial HOST:PORT] [-sni NAME] [-header 'K: V']… METHOD URL [BODY]
func restProgram(args []string) int {
	f := flag.NewFlagSet("rest", flag.ContinueOnError)
	var w wire
	r := request{Header: http.Header{}}
	var asJSON bool
	f.StringVar(&r.Token, "token", os.Getenv("REST_TOKEN"), "token; - for none (default: signs in)")
	f.StringVar(&w.Dial, "dial", "", "address to connect to")
	f.StringVar(&w.SNI, "sni", "", "server name in TLS")
	f.BoolVar(&w.HTTP1, "http1", false, "HTTP/1.1 only")
	f.BoolVar(&asJSON, "json", false, "print the answer as JSON")
	f.Func("header", "header of the request", func(s string) error {
		k, v, ok := strings.Cut(s, ": ")
		if !ok {
			return fmt.Errorf("%q is not K: V", s)
		}
		r.Header[http.CanonicalHeaderKey(k)] = append(r.Header[http.CanonicalHeaderKey(k)], v)
		return nil
	})
	if f.Parse(args) != nil || f.NArg() < 2 {
		return 2
	}
	r.Method, r.URL = f.Arg(0), f.Arg(1)
	switch body := f.Arg(2); {
	case body == "-":
		r.Body = os.Stdin
	case body != "":
		r.Body = strings.NewReader(body)
	}
	if body, ok := r.Body.(*os.File); ok {
		b, err := io.ReadAll(body)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		r.Body = jsonBody(b)
	}
	c, err := newClient(w, credentialsOf(os.Getenv))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	a, err := c.do(context.Background(), r)
	if err != nil {
		fmt.Fprintln(os.Stderr, "no answer:", err)
		return 1
	}
	if asJSON {
		if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
			return 1
		}
		return 0
	}
	if a.ok() {
		fmt.Printf("%d\n%s\n", a.Status, a.Body)
		return 0
	}
	fmt.Printf("%d %s\n%s\n", a.Status, a.Code, a.Message)
	return 0
}
