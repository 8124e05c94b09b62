package trust

import (
	"encoding/binary"
	"errors"
)

// MaxHello is how much of a connection's beginning ServerName looks at.
const MaxHello = 16 << 10

// errNoHello says that what was sent is not the beginning of TLS, or a hello that we do not take.
var errNoHello = errors.New("not a TLS ClientHello")

var errLongHello = errors.New("TLS ClientHello is too long")

// ServerName reads the server name from the first bytes of a TLS connection. complete tells whether they hold the whole
// ClientHello; without it and without an error there is more to come. A hello without a name gives the empty one. After
// an error no more bytes will help.
func ServerName(hello []byte) (name string, complete bool, err error) {
	all := len(hello) >= MaxHello
	msg, err := gather(hello[:min(len(hello), MaxHello)])
	if err != nil {
		return "", false, err
	}
	body, whole, err := helloBody(msg)
	switch {
	case err != nil:
		return "", false, err
	case whole:
		name, err = helloName(body)
		return name, err == nil, err
	case all:
		return "", false, errLongHello
	}
	return "", false, nil
}

const (
	recordHeader    = 5
	maxRecord       = 16 << 10
	handshakeRecord = 22
	clientHello     = 1
	helloHeader     = 4
)

// gather returns the handshake bytes in the records that b begins with, the last of which may be cut off.
func gather(b []byte) ([]byte, error) {
	var msg []byte
	for len(b) > 0 {
		if b[0] != handshakeRecord || len(b) > 1 && b[1] != 3 {
			if _, whole, _ := helloBody(msg); !whole {
				return nil, errNoHello
			}
			return msg, nil // what follows the hello is not ours to judge
		}
		if len(b) < recordHeader {
			break
		}
		n := int(binary.BigEndian.Uint16(b[3:]))
		if n == 0 || n > maxRecord {
			return nil, errNoHello
		}
		b = b[recordHeader:]
		part := b[:min(n, len(b))]
		b = b[len(part):]
		if msg == nil {
			msg = part[:len(part):len(part)] // the usual hello is one record, and needs no copy
		} else {
			msg = append(msg, part...)
		}
	}
	return msg, nil
}

// helloBody returns what is behind a ClientHello's header, and whether all of it is there.
func helloBody(msg []byte) (body []byte, whole bool, err error) {
	if len(msg) > 0 && msg[0] != clientHello {
		return nil, false, errNoHello
	}
	if len(msg) < helloHeader {
		return nil, false, nil
	}
	n := int(msg[1])<<16 | int(msg[2])<<8 | int(msg[3])
	if n > MaxHello {
		return nil, false, errLongHello
	}
	if len(msg)-helloHeader < n {
		return nil, false, nil
	}
	return msg[helloHeader : helloHeader+n], true, nil
}

// helloName walks over a whole ClientHello to its server name.
func helloName(body []byte) (string, error) {
	r := reader{b: body}
	r.take(2 + 32)      // version, random
	r.take(r.number(1)) // session
	r.take(r.number(2)) // cipher suites
	r.take(r.number(1)) // compression
	if r.bad {
		return "", errNoHello
	}
	if len(r.b) == 0 { // no extensions
		return "", nil
	}
	ext := reader{b: r.take(r.number(2))}
	name := ""
	for seen := false; len(ext.b) > 0; {
		kind, data := ext.number(2), reader{}
		data.b = ext.take(ext.number(2))
		if ext.bad {
			return "", errNoHello
		}
		if kind != 0 {
			continue
		}
		list := reader{b: data.take(data.number(2))}
		nameType, text := list.number(1), list.take(list.number(2))
		if seen || data.bad || list.bad || len(data.b)+len(list.b) > 0 || nameType != 0 || len(text) == 0 || len(text) > 255 {
			return "", errNoHello
		}
		for _, c := range text {
			if !nameByte(c) {
				return "", errNoHello
			}
		}
		seen, name = true, string(text)
	}
	if r.bad || len(r.b) > 0 {
		return "", errNoHello
	}
	return name, nil
}

// reader takes fields off b; once one is not there it is bad and gives nothing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

// number takes a big-endian number of n bytes.
func (r *reader) number(n int) int {
	v := 0
	for _, c := range r.take(n) {
		v = v<<8 | int(c)
	}
	return v
}
