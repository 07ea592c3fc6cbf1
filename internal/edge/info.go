package edge

import (
	"context"
	"net/http"
	"net/netip"

	"gatehouse/internal/logctx"
)

// Info is what the edge knows of a request.
type Info struct {
	RequestID string
	Addr      netip.Addr // the client's address; invalid where the connection has none
	Peer      netip.Addr // the other end of the connection: the client, or the last proxy
	Scheme    string     // http or https, as the client asked
	Host      string     // the name as the client asked for it, with a port where one was given
	Prefix    string     // the path below which a proxy shows us, without a / at its end; "" for none
	Forwarded bool       // a proxy brought the request, or somebody says so
	Trusted   bool       // a proxy that we trust brought it
	Plain     bool       // and says that the client asked by plain HTTP

	port uint16 // of Addr, 0 for not known
}

// BaseURL is the address of our root as the client sees it, without a / at its end.
func (i Info) BaseURL() string { return i.Scheme + "://" + i.Host + i.Prefix }

// remote is Addr as RemoteAddr has it.
func (i *Info) remote() string { return netip.AddrPortFrom(i.Addr, i.port).String() }

type infoKey struct{}

// requestContext is the context of a request. It is a type of its own, rather than two values in the library's, because each of
// them costs as much as all the rest that the edge does for an event.
type requestContext struct {
	context.Context //nolint:containedctx // it is one
	info            Info
	log             logctx.Request
}

// Value gives what the edge knows, to FromContext and to logs.
func (c *requestContext) Value(k any) any {
	switch {
	case k == infoKey{}:
		return &c.info
	case logctx.IsKey(k):
		return &c.log
	}
	return c.Context.Value(k)
}

// FromContext is what the edge knows of the request whose context ctx is. Without an edge in front, as on the control
// socket, it is the zero Info.
func FromContext(ctx context.Context) Info {
	if i, ok := ctx.Value(infoKey{}).(*Info); ok {
		return *i
	}
	return Info{}
}

// RequestID is the id of a request, "" without an edge in front.
func RequestID(r *http.Request) string {
	if i, ok := r.Context().Value(infoKey{}).(*Info); ok {
		return i.RequestID
	}
	return ""
}
