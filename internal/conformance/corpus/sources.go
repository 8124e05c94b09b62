package corpus

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// javascript is a module of at least size bytes: functions and classes that call each other, with much that a minifier can fold.
func javascript(size int, r *rand.Rand) []byte {
	words := identifiers(900, r)
	var b bytes.Buffer
	var names []string
	for n := 0; b.Len() < size; n++ {
		name := fmt.Sprintf("%s%d", pick(words, r), n)
		args := []string{pick(words, r) + "A", pick(words, r) + "B"}
		switch r.IntN(4) {
		case 0:
			fmt.Fprintf(&b, "export class %s {\n  constructor(%s) { this.%s = %s ?? { key: `n${%d}`, list: [1, 2, %d] }; }\n", strings.ToUpper(name[:1])+name[1:],
				args[0], args[0], args[0], n, r.IntN(1000))
			fmt.Fprintf(&b, "  get %s() { return this.%s?.list?.length || %d * %d; }\n}\n", args[1], args[0], r.IntN(99), r.IntN(99))
		case 1:
			fmt.Fprintf(&b, "const %s = (%s, { %s = %d, ...rest } = {}) => {\n  // %s\n  if (%s > %d) return [%s, ...Object.keys(rest)];\n  return %q + %q;\n};\n",
				name, args[0], args[1], r.IntN(50), strings.Join(words[:6], " "), args[0], r.IntN(50), args[1], pick(words, r), pick(words, r))
			names = append(names, name)
		default:
			fmt.Fprintf(&b, "function %s(%s) {\n  let total = 0;\n  for (let i = 0; i < %d; i++) {\n    total += i %% 2 === 0 ? %s * i : %s ** 2;\n", name, strings.Join(args, ", "),
				r.IntN(100), args[0], args[1])
			if len(names) > 0 {
				fmt.Fprintf(&b, "    if (false) { %s(total); } else { total = %s(total, i); }\n", names[r.IntN(len(names))], names[r.IntN(len(names))])
			}
			fmt.Fprintf(&b, "  }\n  switch (total) {\n    case %d: return \"%s\";\n    default: return total === undefined ? null : total;\n  }\n}\n", r.IntN(100), pick(words, r))
			names = append(names, name)
		}
	}
	fmt.Fprintf(&b, "export default [%s];\n", strings.Join(names, ", "))
	return b.Bytes()
}

// identifiers are words that no language reserves.
func identifiers(n int, r *rand.Rand) []string {
	words := vocabulary(n, r)
	for i := range words {
		words[i] += "_x"
	}
	return words
}

// shell is a script of at least size bytes, in nobody's style.
func shell(size int, r *rand.Rand) []byte {
	words := identifiers(400, r)
	space := func() string { return strings.Repeat(" ", 1+r.IntN(5)) }
	var b bytes.Buffer
	b.WriteString("#!/bin/sh\n")
	for n := 0; b.Len() < size; n++ {
		w := func() string { return pick(words, r) }
		switch r.IntN(5) {
		case 0:
			fmt.Fprintf(&b, "if%s[ \"$%s\"%s= '%s' ] &&%stest -n \"${%s:-%d}\"\nthen echo%s\"$(%s | sed 's/a/b/' )\"; else\n      %s=$((%d+%d *2))\nfi\n", space(), w(), space(), w(),
				space(), w(), n, space(), w(), w(), r.IntN(99), r.IntN(99))
		case 1:
			fmt.Fprintf(&b, "%s_%d( ) {\n%slocal i\nfor i in 1 2%s\"$@\" ;do %s \"$i\" >/dev/null 2>&1||return %d; done }\n", w(), n, space(), space(), w(), r.IntN(9))
		case 2:
			fmt.Fprintf(&b, "case%s$%s in\n %s|%s)%s%s=%d;;\n*) %s --%s=\"$%s\"\n;;\nesac\n", space(), w(), w(), w(), space(), w(), n, w(), w(), w())
		case 3:
			fmt.Fprintf(&b, "while read -r %s\ndo printf '%%s\\n' \"$%s\"%s# %s\ndone<%s.txt\n", w(), w(), space(), w(), w())
		default:
			fmt.Fprintf(&b, "cat <<EOF | %s%s-%c\n%s $%s\nEOF\n", w(), space(), 'a'+rune(r.IntN(26)), w(), w())
		}
	}
	return b.Bytes()
}

// records is a list of records in JSON, of at least size bytes.
func records(size int, r *rand.Rand) []byte {
	words := vocabulary(600, r)
	var b bytes.Buffer
	b.WriteString("[")
	for id := 0; b.Len() < size; id++ {
		if id > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n {\"id\": %d, \"name\": %q, \"price\": %d, \"tags\": [%q, %q], \"stock\": {\"here\": %d, \"there\": %d}, \"sold\": %t}", id, pick(words, r),
			r.IntN(10000), pick(words, r), pick(words, r), r.IntN(40), r.IntN(400), r.IntN(2) == 0)
	}
	b.WriteString("\n]\n")
	return b.Bytes()
}

// plainXML is a document without a type: parsers that do not validate may know no entities of its own.
func plainXML(size int, r *rand.Rand) []byte {
	b := bytes.ReplaceAll(xml(size, r), []byte("&mark;"), nil)
	return bytes.Replace(b, []byte("<!DOCTYPE library [<!ENTITY mark \"&#x2020;\">]>\n"), nil, 1)
}
