package signin

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"vauban.dev/store"
)

// A ticket is a random text that stands for a document and ends at a time. The document's key begins with that
// time, so that those which are over are found first; the text itself is kept nowhere.

// newTicket makes a ticket and the key of its document.
func newTicket(ends time.Time) (ticket, key string) {
	ticket = fmt.Sprintf("1.%x.%s", ends.Unix(), random(32))
	key, _ = ticketKey(ticket)
	return ticket, key
}

// maxTicket bounds a ticket's text.
const maxTicket = 128

func ticketKey(ticket string) (key string, ok bool) {
	parts := strings.Split(ticket, ".")
	if len(ticket) > maxTicket || len(parts) != 3 || parts[0] != "1" || len(parts[1]) == 0 || len(parts[1]) > 12 {
		return "", false
	}
	if _, err := base64.RawURLEncoding.DecodeString(parts[2]); err != nil {
		return "", false
	}
	return fmt.Sprintf("%012s.%s", parts[1], hex.EncodeToString(digest(ticket))), true
}

// sweepBatch bounds what one sweep forgets.
const sweepBatch = 100

// sweep forgets documents whose time was over an hour ago.
func sweep(tx store.Tx, kind string, now time.Time) error {
	limit := fmt.Sprintf("%012x", now.Add(-time.Hour).Unix())
	var over []string
	err := tx.Scan(kind, "", "", func(d store.Doc) bool {
		if d.Key >= limit || len(over) >= sweepBatch {
			return false
		}
		over = append(over, d.Key)
		return true
	})
	for _, key := range over {
		err = errors.Join(err, tx.Delete(kind, key, store.Any))
	}
	return err
}

func getDoc(tx store.Tx, kind, key string, v any) error {
	doc, err := tx.Get(kind, key)
	if err != nil {
		return err
	}
	return json.Unmarshal(doc.Value, v)
}

func getDocValue(doc store.Doc, v any) error { return json.Unmarshal(doc.Value, v) }

func putDoc(tx store.Tx, kind, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.Put(kind, key, b, store.Any)
	return err
}
