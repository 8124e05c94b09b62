package trust

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/clonecloud/clonecloud/internal/atomicfile"
)

// Secret is a token or a device's identity. It prints as "(secret)" whatever way it is printed; Reveal has the text.
type Secret [32]byte

const hidden = "(secret)"

// NewSecret draws one.
func NewSecret() Secret {
	var s Secret
	_, _ = rand.Read(s[:]) // never fails, as its documentation says
	return s
}

// ParseSecret reads what Reveal wrote. Its error does not repeat the text.
func ParseSecret(text string) (Secret, error) {
	var s Secret
	if len(text) != base64.RawURLEncoding.EncodedLen(len(s)) {
		return Secret{}, fmt.Errorf("has %d characters, not %d", len(text), base64.RawURLEncoding.EncodedLen(len(s)))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(s) { // the decoder passes over line ends, so the length is looked at again
		return Secret{}, errors.New("is not base64url")
	}
	copy(s[:], b)
	return s, nil
}

// DeviceKey loads the identity of a device from the file at path, or makes both. Nobody else may be able to read it.
func DeviceKey(path string) (Secret, error) {
	b, err := atomicfile.Key(path)
	if err != nil {
		return Secret{}, fmt.Errorf("load device key: %w", err)
	}
	return Secret(b), nil
}

// Reveal returns the secret as unpadded base64url.
func (s Secret) Reveal() string { return base64.RawURLEncoding.EncodeToString(s[:]) }

// Equal compares in constant time.
func (s Secret) Equal(other Secret) bool { return subtle.ConstantTimeCompare(s[:], other[:]) == 1 }

// Sum returns the secret's SHA-256, for those who must recognise it and not know it.
func (s Secret) Sum() [32]byte { return sha256.Sum256(s[:]) }

// String hides the secret.
func (Secret) String() string { return hidden }

// GoString hides the secret.
func (Secret) GoString() string { return hidden }

// Format hides the secret under every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON hides the secret.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalText hides the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
