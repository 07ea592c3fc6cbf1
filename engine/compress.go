package engine

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// blockSize is how much of an answer goes into one of ClickHouse's compressed blocks.
const blockSize = 1 << 20

// encodings we write, best first for a client that takes several.
var encodings = []string{"zstd", "lz4", "gzip", "br", "deflate"}

// chooseEncoding picks what to write from an Accept-Encoding header.
func chooseEncoding(accept string) string {
	if accept == "" {
		return ""
	}
	offered := map[string]bool{}
	for part := range strings.SplitSeq(accept, ",") {
		name, q, _ := strings.Cut(part, ";")
		if strings.TrimSpace(strings.ToLower(strings.ReplaceAll(q, " ", ""))) == "q=0" {
			continue
		}
		offered[strings.ToLower(strings.TrimSpace(name))] = true
	}
	for _, e := range encodings {
		if offered[e] {
			return e
		}
	}
	return ""
}

// encodeWriter compresses what is written to it.
func encodeWriter(w io.Writer, encoding string) (io.WriteCloser, error) {
	switch encoding {
	case "gzip":
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case "zstd":
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	case "lz4":
		return lz4.NewWriter(w), nil
	case "br":
		return brotli.NewWriterLevel(w, 1), nil
	case "deflate":
		return zlib.NewWriterLevel(w, zlib.BestSpeed)
	}
	return nil, errors.New("unknown encoding " + encoding)
}

// decodeBody undoes a request's Content-Encoding and ClickHouse's blocks.
func decodeBody(body io.Reader, encoding string, blocks bool) (io.Reader, error) {
	r := body
	var err error
	switch strings.ToLower(encoding) {
	case "", "identity":
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(body)
	case "zstd":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20)); err == nil {
			r = d.IOReadCloser()
		}
	case "lz4":
		r = lz4.NewReader(body)
	case "br":
		r = brotli.NewReader(body)
	case "deflate":
		r, err = zlib.NewReader(body)
	default:
		return nil, raise(89, "UNKNOWN_COMPRESSION_METHOD", "Unknown compression method: %s", encoding)
	}
	if err != nil {
		return nil, raise(codeBadArguments, "BAD_ARGUMENTS", "The body is not %s: %s", encoding, err)
	}
	if blocks {
		r = &blockReader{r: compress.NewReader(r)}
	}
	return r, nil
}

// blockReader gives a clean end its plain io.EOF: the block reader wraps it.
type blockReader struct{ r *compress.Reader }

func (b *blockReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// blockWriter writes ClickHouse's compressed blocks.
type blockWriter struct {
	w      io.Writer
	c      *compress.Writer
	method compress.Method
	buf    bytes.Buffer
}

func newBlockWriter(w io.Writer, useZstd bool) *blockWriter {
	m := compress.LZ4
	if useZstd {
		m = compress.ZSTD
	}
	return &blockWriter{w: w, c: compress.NewWriter(compress.LevelZero, m), method: m}
}

func (b *blockWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), blockSize-b.buf.Len())
		b.buf.Write(p[:k])
		p = p[k:]
		if b.buf.Len() == blockSize {
			if err := b.Flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (b *blockWriter) Flush() error {
	if b.buf.Len() == 0 {
		return nil
	}
	err := b.block(b.c, b.buf.Bytes())
	b.buf.Reset()
	return err
}

// writeStored writes p as a block of its own that is not compressed, so that a
// client that scans the raw stream finds the text.
func (b *blockWriter) writeStored(p []byte) error {
	if err := b.Flush(); err != nil {
		return err
	}
	return b.block(compress.NewWriter(compress.LevelZero, compress.None), p)
}

func (b *blockWriter) block(c *compress.Writer, p []byte) error {
	if err := c.Compress(p); err != nil {
		return err
	}
	_, err := b.w.Write(c.Data)
	return err
}

func (b *blockWriter) Close() error { return b.Flush() }
