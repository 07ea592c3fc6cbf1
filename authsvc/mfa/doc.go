// Package mfa holds the second factors as pure functions: one-time passwords by time (TOTP, RFC 6238) and recovery codes. What is
// kept of them, and where, is for authsvc.
package mfa
