// Package trust is how a device and a node know each other: the node's authority and the certificates it signs, the
// address that pins it, the token and the device's identity, the server name that routes a connection, and the HTTP
// upgrade that opens a link.
//
// A node's authority is a certificate that signs itself. Its address names that certificate's SHA-256, and the device
// accepts no other, nor any certificate that it has not signed itself; no public authority is asked. Whoever holds the
// token may use the node. A connection says in its TLS server name, in the clear, whose it is:
//
//	LABEL.clonecloud   LABEL: base32 (lower case, no padding) of route and tag
//	route              SHA-256("clonecloud route\0" + token + device)[:16]
//	tag                HMAC-SHA-256(SHA-256("clonecloud tag\0" + token), route)[:10]
//
// so that a stranger without the token is known before anything is done for him, while one who listens learns neither
// token nor device. Inside TLS the device asks for the link, and may send frames right behind its request:
//
//	GET /v1/link HTTP/1.1
//	Host: LABEL.clonecloud
//	Connection: Upgrade
//	Upgrade: clonecloud/2
//	Authorization: Bearer BASE64URL(token)
//	Clonecloud-Device: BASE64URL(device)
//
// The answer is 101 with the node's frames right behind it, or a status with one line of text that says why not.
package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/clonecloud/clonecloud/internal/atomicfile"
)

// Lifetimes. A leaf is dated back for devices whose clock is wrong.
const (
	AuthorityLife = 20 * 365 * 24 * time.Hour
	LeafLife      = 24 * time.Hour
	LeafBackdate  = 24 * time.Hour
)

const maxPEM = 64 << 10

// Authority is what a node proves itself by. Its methods may be called by many goroutines.
type Authority struct {
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	token Secret
	now   func() time.Time
}

// OpenAuthority loads the authority and the token from the folder dir, and makes what is missing: authority.key and
// token, which nobody else may be able to read, and authority.pem. Of several processes that start at once one's are
// made and all have the same.
func OpenAuthority(dir string) (*Authority, error) {
	a, err := openAuthority(dir, time.Now)
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	return a, nil
}

func openAuthority(dir string, now func() time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a := &Authority{now: now}
	// The key decides: the certificate is made for the key that is there, so that two at their first start agree.
	keyPath, certPath := filepath.Join(dir, "authority.key"), filepath.Join(dir, "authority.pem")
	if _, err := os.Stat(certPath); err == nil { // then there was a key before it
		if _, err := os.Stat(keyPath); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is there and %s is not: put the key back, or remove the certificate for a new authority (devices then need its address)",
				certPath, filepath.Base(keyPath))
		}
	}
	text, err := atomicfile.Private(keyPath, maxPEM, newKeyPEM)
	if err != nil {
		return nil, err
	}
	if a.key, err = parseKey(text); err != nil {
		return nil, fmt.Errorf("read %s: %w", keyPath, err)
	}
	text, err = atomicfile.Shared(certPath, maxPEM, func() ([]byte, error) { return a.newCert() })
	if err != nil {
		return nil, err
	}
	if a.cert, err = parseCert(text); err != nil {
		return nil, fmt.Errorf("read %s: %w", certPath, err)
	}
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", certPath, err)
	}
	token, err := atomicfile.Key(filepath.Join(dir, "token"))
	a.token = Secret(token)
	return a, err
}

// EphemeralAuthority makes an authority and a token that are in memory only.
func EphemeralAuthority() (*Authority, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	a := &Authority{key: key, token: NewSecret(), now: time.Now}
	text, err := a.newCert()
	if err != nil {
		return nil, err
	}
	if a.cert, err = parseCert(text); err != nil {
		return nil, err
	}
	return a, nil
}

// Pin returns the SHA-256 of the authority's certificate, which devices know it by.
func (a *Authority) Pin() [32]byte { return sha256.Sum256(a.cert.Raw) }

// Token returns the secret that devices show.
func (a *Authority) Token() Secret { return a.token }

// Address returns the address of a node of this authority at host, which is host:port.
func (a *Authority) Address(host string) Address {
	return Address{Host: host, Token: a.token, Pin: a.Pin()}
}

// NewKey makes a key for a certificate.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// Sign returns a chain in DER, the certificate first and the authority's last, for the holder of pub to serve names
// with. It is valid from LeafBackdate ago and for LeafLife.
func (a *Authority) Sign(pub crypto.PublicKey, names ...string) ([][]byte, error) {
	if len(names) == 0 {
		return nil, errors.New("sign certificate: no name")
	}
	if key, ok := pub.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("sign certificate: not an ECDSA P-256 key")
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := a.now()
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "clonecloud node"},
		NotBefore:    now.Add(-LeafBackdate),
		NotAfter:     now.Add(LeafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     names,

		BasicConstraintsValid: true,
	}, a.cert, pub, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return [][]byte{leaf, a.cert.Raw}, nil
}

// newCert signs the authority's own certificate.
func (a *Authority) newCert() ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := a.now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "clonecloud authority"},
		NotBefore:    now.Add(-LeafBackdate),
		NotAfter:     now.Add(AuthorityLife),
		KeyUsage:     x509.KeyUsageCertSign,
		IsCA:         true,

		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign authority: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// check holds certificate and key against each other, and against the clock: better here than at every device.
func (a *Authority) check() error {
	if !a.key.PublicKey.Equal(a.cert.PublicKey) {
		return errors.New("is of another key than authority.key")
	}
	if !a.cert.IsCA {
		return errors.New("is no authority's certificate")
	}
	return checkDates("certificate", a.cert, a.now())
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

func newKeyPEM() ([]byte, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no private key in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("private key cannot be read")
	}
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok || k.Curve != elliptic.P256() {
		return nil, errors.New("not an ECDSA P-256 key")
	}
	return k, nil
}

func parseCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in it")
	}
	return x509.ParseCertificate(block.Bytes)
}
