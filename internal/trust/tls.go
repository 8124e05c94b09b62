package trust

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// What is wrong with a node's certificate. A device finds them with errors.Is in what its handshake returns.
var (
	ErrPin   = errors.New("the node presents another certificate than the address names")
	ErrName  = errors.New("the node's certificate is for another name")
	ErrDates = errors.New("the node's certificate is not valid at this time")
	ErrChain = errors.New("the node's certificate is not good for a node")
)

const alpn = "http/1.1"

// ServerConfig returns how a node serves TLS with a chain from Authority.Sign and its key. Sessions are not resumed, so
// that a node keeps nothing for a device that went.
func ServerConfig(chain [][]byte, key crypto.Signer) *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{{Certificate: chain, PrivateKey: key}},
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn},
		SessionTicketsDisabled: true,
		// Small records at first are for browsers that show what they have; here they cost time.
		DynamicRecordSizingDisabled: true,
	}
}

// ClientConfig returns how a device speaks to a node: TLS 1.3, asking for the name sni, and accepting only a chain whose
// last certificate is the pinned one, which has signed the first. now is the device's clock.
func ClientConfig(pin [32]byte, sni string, now func() time.Time) *tls.Config {
	return &tls.Config{
		ServerName: sni,
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{alpn},
		Time:       now,

		DynamicRecordSizingDisabled: true,
		// The usual verification asks the machine's authorities, which have no say here; verify stands in for it.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return verify(pin, sni, now(), state.PeerCertificates)
		},
	}
}

// verify checks a chain that was presented. What is checked one by one is what has an error of its own.
func verify(pin [32]byte, name string, now time.Time, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return ErrPin
	}
	leaf, authority := chain[0], chain[len(chain)-1]
	if sha256.Sum256(authority.Raw) != pin {
		return ErrPin
	}
	if len(chain) != 2 {
		return fmt.Errorf("%w: a chain of %d certificates, not of 2", ErrChain, len(chain))
	}
	if leaf.IsCA || bytes.Equal(leaf.Raw, authority.Raw) {
		return fmt.Errorf("%w: it is an authority's", ErrChain)
	}
	if err := leaf.CheckSignatureFrom(authority); err != nil {
		return fmt.Errorf("%w: the authority has not signed it", ErrChain)
	}
	if leaf.VerifyHostname(name) != nil {
		return fmt.Errorf("%w than %s", ErrName, name)
	}
	if err := errors.Join(checkDates("certificate", leaf, now), checkDates("authority", authority, now)); err != nil {
		return err
	}
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return fmt.Errorf("%w: it is not for servers", ErrChain)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	_, err := leaf.Verify(x509.VerifyOptions{
		DNSName: name, Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChain, err)
	}
	return nil
}

// checkDates says this machine's clock, since more often than not that is what is wrong.
func checkDates(what string, c *x509.Certificate, now time.Time) error {
	const layout = "2006-01-02 15:04:05 MST"
	clock := now.UTC().Format(layout)
	switch {
	case now.Before(c.NotBefore):
		return fmt.Errorf("%w: the %s holds only from %s, and this machine's clock says %s", ErrDates, what, c.NotBefore.UTC().Format(layout), clock)
	case now.After(c.NotAfter):
		return fmt.Errorf("%w: the %s held until %s, and this machine's clock says %s", ErrDates, what, c.NotAfter.UTC().Format(layout), clock)
	}
	return nil
}
