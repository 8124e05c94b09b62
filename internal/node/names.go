package node

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/trust"
)

// names has the certificates that the daemon shows. A device that is refused asks for its own name and would not believe
// a certificate for another, so there is one for each name of the right form, made when it is asked for. Safe for
// concurrent use.
type names struct {
	auth *trust.Authority
	key  *ecdsa.PrivateKey

	mu     sync.Mutex
	chains map[string]named // guarded by mu
}

type named struct {
	cert *tls.Certificate
	made time.Time
}

const (
	maxNames = 128
	halfLife = trust.LeafLife / 2
)

func newNames(a *trust.Authority) (*names, error) {
	key, err := trust.NewKey()
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return &names{auth: a, key: key, chains: map[string]named{}}, nil
}

// sign makes a chain for a worker's public key.
func (s *names) sign(key []byte, name string) ([][]byte, error) {
	pub, err := x509.ParsePKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	if _, ok := pub.(*ecdsa.PublicKey); !ok {
		return nil, fmt.Errorf("key is a %T", pub)
	}
	return s.auth.Sign(pub, name)
}

// get returns the certificate for a name; any name but a device's gets the daemon's own.
func (s *names) get(name string, now time.Time) (*tls.Certificate, error) {
	if !routeName(name) {
		name = trust.NodeName
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.chains[name]; ok && now.Sub(c.made) < halfLife {
		return c.cert, nil
	}
	chain, err := s.auth.Sign(s.key.Public(), name)
	if err != nil {
		return nil, err
	}
	for n := range s.chains {
		if len(s.chains) >= maxNames {
			delete(s.chains, n) // any one
		}
	}
	c := named{&tls.Certificate{Certificate: chain, PrivateKey: s.key}, now}
	s.chains[name] = c
	return c.cert, nil
}

// routeName tells whether a name has the form of those that devices ask for, whatever the token.
func routeName(name string) bool {
	const label = 42
	if len(name) != label+len(".clonecloud") || name[label:] != ".clonecloud" {
		return false
	}
	for _, c := range []byte(name[:label]) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}
