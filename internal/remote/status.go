package remote

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/clonecloud/clonecloud/internal/peer"
)

// controlName is the name by which a node's daemon itself is asked, rather than a worker.
const controlName = "node.clonecloud"

const maxStatus = 1 << 20

// Status asks the node how it is, and takes the answer into v. It returns how long a round trip took.
func (n *Node) Status(ctx context.Context, v any) (_ time.Duration, err error) {
	conn, rtt, err := n.dial(ctx, controlName)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil && ctx.Err() != nil { // which closed the connection
			err = fmt.Errorf("ask %s: %w", n.Address.Host, ctx.Err())
		}
	}()
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+controlName+"/v1/status", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+n.Address.Token.Reveal())
	req.Close = true
	if err := req.Write(conn); err != nil {
		return 0, fmt.Errorf("ask %s: %w", n.Address.Host, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", n.Address.Host, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", n.Address.Host, err)
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("ask %s: it refuses (%d): %s", n.Address.Host, resp.StatusCode, peer.Printable(string(body)))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return 0, fmt.Errorf("ask %s: read its answer: %w", n.Address.Host, err)
	}
	return rtt, nil
}
