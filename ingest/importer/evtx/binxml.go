package evtx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
)

// Tokens of binary XML. 0x40 on top says that more follows of the same; for
// an element, that it has attributes.
const (
	tokEOF        = 0x00
	tokOpen       = 0x01
	tokCloseStart = 0x02
	tokCloseEmpty = 0x03
	tokEnd        = 0x04
	tokValue      = 0x05
	tokAttribute  = 0x06
	tokCDATA      = 0x07
	tokCharRef    = 0x08
	tokEntityRef  = 0x09
	tokPITarget   = 0x0a
	tokPIData     = 0x0b
	tokTemplate   = 0x0c
	tokSubst      = 0x0d
	tokOptSubst   = 0x0e
	tokFragment   = 0x0f

	tokMore = 0x40
)

// maxNesting is how deep templates may stand in templates; Windows needs three.
const maxNesting = 16

var (
	errShort  = errors.New("ends within a value")
	errBudget = errors.New("costs more work than any real record; the rest of its chunk was not read")
)

// value is one substitution: where its bytes lie in the chunk.
type value struct {
	pos, size int
	typ       byte
}

// fragment reads the tokens in buf[pos:end], with vals for its substitutions,
// and feeds the builder. Within templates, elements carry a dependency id.
// It gives the position behind what it read.
func (c *chunk) fragment(pos, end int, vals []value, template bool, depth int) (int, error) {
	if depth > maxNesting {
		return pos, errors.New("templates nest too deep")
	}
	f := &frame{c: c, pos: pos, end: end, vals: vals, template: template, depth: depth}
	for f.pos < f.end {
		if err := c.pay(1); err != nil {
			return f.pos, err
		}
		tok := c.buf[f.pos]
		f.pos++
		if tok == tokEOF {
			break
		}
		if err := f.token(tok); err != nil {
			return f.pos, err
		}
	}
	return f.pos, f.flushAttr()
}

func (c *chunk) pay(n int) error {
	c.budget -= n
	if c.budget < 0 {
		return errBudget
	}
	return nil
}

// frame is the state of reading one fragment.
type frame struct {
	c        *chunk
	pos, end int
	vals     []value
	template bool
	depth    int

	attr     string // the attribute whose value is being read
	attrText []byte
	inAttr   bool
	open     []string
}

func (f *frame) token(tok byte) error {
	switch tok &^ tokMore {
	case tokOpen:
		return f.openElement(tok&tokMore != 0)
	case tokCloseStart:
		return f.flushAttr()
	case tokCloseEmpty, tokEnd:
		return f.endElement()
	case tokAttribute:
		if err := f.flushAttr(); err != nil {
			return err
		}
		name, err := f.name()
		f.attr, f.inAttr = name, true
		return err
	case tokValue:
		if _, err := f.take(1); err != nil { // the type, always a string
			return err
		}
		return f.prefixedText()
	case tokCDATA, tokPIData:
		return f.prefixedText()
	case tokCharRef:
		b, err := f.take(2)
		if err != nil {
			return err
		}
		return f.text(string(rune(binary.LittleEndian.Uint16(b))))
	case tokEntityRef:
		name, err := f.name()
		if err != nil {
			return err
		}
		return f.text(entities[name])
	case tokPITarget:
		_, err := f.name()
		return err
	case tokTemplate:
		return f.templateInstance()
	case tokSubst, tokOptSubst:
		return f.substitute()
	case tokFragment:
		_, err := f.take(3)
		return err
	}
	return fmt.Errorf("unknown token 0x%02x", tok)
}

var entities = map[string]string{"amp": "&", "lt": "<", "gt": ">", "quot": `"`, "apos": "'"}

func (f *frame) take(n int) ([]byte, error) {
	if n < 0 || n > f.end-f.pos {
		return nil, errShort
	}
	b := f.c.buf[f.pos : f.pos+n]
	f.pos += n
	return b, nil
}

func (f *frame) uint32() (uint32, error) {
	b, err := f.take(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

// openElement reads an element's start. Elements of templates carry a
// dependency id before their size, others do not; which it is inside a value
// of binary XML differs between writers, so the form that makes sense is taken.
func (f *frame) openElement(attributes bool) error {
	if err := f.flushAttr(); err != nil {
		return err
	}
	start := f.pos
	name, err := f.elementName(f.template)
	if err != nil {
		f.pos = start
		name, err = f.elementName(!f.template)
	}
	if err != nil {
		return err
	}
	if attributes {
		if _, err := f.take(4); err != nil { // the size of the attribute list
			return err
		}
	}
	if len(f.open) >= maxElements {
		return errors.New("elements nest too deep")
	}
	f.open = append(f.open, name)
	f.c.build.Start(name)
	return nil
}

// maxElements is how deep elements may stand within each other.
const maxElements = 64

func (f *frame) elementName(dependency bool) (string, error) {
	if dependency {
		if _, err := f.take(2); err != nil {
			return "", err
		}
	}
	size, err := f.uint32()
	if err != nil {
		return "", err
	}
	if size > chunkSize {
		return "", errors.New("an element is larger than a chunk")
	}
	return f.name()
}

func (f *frame) endElement() error {
	if err := f.flushAttr(); err != nil {
		return err
	}
	if len(f.open) == 0 {
		return errors.New("an element ends that did not begin")
	}
	name := f.open[len(f.open)-1]
	f.open = f.open[:len(f.open)-1]
	f.c.build.End()
	if name == "System" && f.c.opt.Wanted != nil {
		if provider, id := f.c.build.Kind(); !f.c.opt.Wanted(provider, id) {
			return errSkip
		}
	}
	return nil
}

func (f *frame) flushAttr() error {
	if f.inAttr {
		f.c.build.Attr(f.attr, string(f.attrText))
		f.attr, f.attrText, f.inAttr = "", f.attrText[:0], false
	}
	return nil
}

// text adds to the attribute being read, else to the open element.
func (f *frame) text(s string) error {
	if err := f.c.pay(len(s)); err != nil {
		return err
	}
	if f.inAttr {
		f.attrText = append(f.attrText, s...) // bounded by the budget
		return nil
	}
	f.c.build.Text(s)
	return nil
}

func (f *frame) prefixedText() error {
	b, err := f.take(2)
	if err != nil {
		return err
	}
	b, err = f.take(2 * int(binary.LittleEndian.Uint16(b)))
	if err != nil {
		return err
	}
	return f.text(decodeUTF16(b))
}

// name reads a reference to a name. A name stands in the chunk once, where it
// is first used; later uses point there.
func (f *frame) name() (string, error) {
	offset, err := f.uint32()
	if err != nil {
		return "", err
	}
	if offset < chunkHeaderSize || int64(offset)+8 > int64(len(f.c.buf)) {
		return "", errors.New("a name lies outside the chunk")
	}
	at := int(offset)
	count := int(binary.LittleEndian.Uint16(f.c.buf[at+6:]))
	size := 8 + 2*count + 2 // next, hash, count, the characters, a final zero
	if at == f.pos {
		if _, err := f.take(size); err != nil {
			return "", err
		}
	} else if at+size > len(f.c.buf) {
		return "", errors.New("a name runs over the chunk's end")
	}
	if s, ok := f.c.names[offset]; ok {
		return s, nil
	}
	if err := f.c.pay(count); err != nil {
		return "", err
	}
	s := decodeUTF16(f.c.buf[at+8 : at+8+2*count])
	f.c.names[offset] = s
	return s, nil
}

// templateInstance reads the values of a template and runs its definition,
// which stands here at its first use in the chunk, elsewhere otherwise.
func (f *frame) templateInstance() error {
	if err := f.flushAttr(); err != nil {
		return err
	}
	head, err := f.take(9) // a one, the id, the definition's offset
	if err != nil {
		return err
	}
	def := int64(binary.LittleEndian.Uint32(head[5:]))
	const defHeader = 24 // next, GUID, size
	if def < chunkHeaderSize || def+defHeader > int64(len(f.c.buf)) {
		return errors.New("a template lies outside the chunk")
	}
	body := int(def) + defHeader
	size := int64(binary.LittleEndian.Uint32(f.c.buf[def+20:]))
	if size > int64(len(f.c.buf)-body) {
		return errors.New("a template runs over the chunk's end")
	}
	if int(def) == f.pos {
		if _, err := f.take(defHeader + int(size)); err != nil {
			return err
		}
	}
	count, err := f.uint32()
	if err != nil {
		return err
	}
	if int64(count)*4 > int64(f.end-f.pos) {
		return errors.New("more values than bytes")
	}
	if err := f.c.pay(int(count)); err != nil {
		return err
	}
	descriptors, err := f.take(4 * int(count))
	if err != nil {
		return err
	}
	vals := make([]value, count)
	for i := range vals {
		d := descriptors[4*i:]
		vals[i] = value{pos: f.pos, size: int(binary.LittleEndian.Uint16(d)), typ: d[2]}
		if _, err := f.take(vals[i].size); err != nil {
			return err
		}
	}
	_, err = f.c.fragment(body, body+int(size), vals, true, f.depth+1)
	return err
}

func (f *frame) substitute() error {
	b, err := f.take(3)
	if err != nil {
		return err
	}
	if b[2] == 0 { // a value of no type has one more byte
		if _, err := f.take(1); err != nil {
			return err
		}
	}
	index := int(binary.LittleEndian.Uint16(b))
	if index >= len(f.vals) {
		return nil
	}
	v := f.vals[index]
	raw := f.c.buf[v.pos : v.pos+v.size]
	switch {
	case v.typ == typeNull, v.size == 0:
		return nil
	case v.typ == typeBinXML:
		if f.inAttr {
			return errors.New("an attribute holds elements")
		}
		_, err := f.c.fragment(v.pos, v.pos+v.size, f.vals, true, f.depth+1)
		return err
	case v.typ&typeArray != 0 && !f.inAttr:
		return f.array(v.typ&^typeArray, raw)
	}
	if err := f.c.pay(v.size); err != nil {
		return err
	}
	return f.text(format(v.typ, raw))
}

// array writes an array of values. Windows repeats the element for each; that
// matters for the nameless Data of classic sources.
func (f *frame) array(typ byte, raw []byte) error {
	if err := f.c.pay(len(raw)); err != nil {
		return err
	}
	for i, s := range split(typ, raw) {
		if i > 0 && len(f.open) > 0 {
			name := f.open[len(f.open)-1]
			f.c.build.End()
			f.c.build.Start(name)
		}
		if err := f.text(s); err != nil {
			return err
		}
	}
	return nil
}

func decodeUTF16(b []byte) string {
	units := make([]uint16, len(b)/2)
	ascii := true
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
		ascii = ascii && units[i] < 0x80
	}
	for len(units) > 0 && units[len(units)-1] == 0 {
		units = units[:len(units)-1]
	}
	if ascii {
		out := make([]byte, len(units))
		for i, u := range units {
			out[i] = byte(u) //nolint:gosec // all are below 0x80
		}
		return string(out)
	}
	return string(utf16.Decode(units))
}
