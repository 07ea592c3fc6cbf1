// Package oidc speaks OpenID Connect with an identity provider: the authorization code flow with PKCE, state and nonce (OpenID Connect Core 1.0,
// RFC 7636, RFC 9207). It says who somebody is and what the provider claims of them; which account that is, and what they may do, is package
// authsvc's, and package signin makes the session.
package oidc
