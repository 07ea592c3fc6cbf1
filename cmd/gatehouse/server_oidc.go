package main

import (
	"fmt"

	"gatehouse/authsvc"
	"gatehouse/authsvc/oidc"
	"gatehouse/authsvc/signin"
	"gatehouse/config"
	"gatehouse/event"
)

// factorValues are those by which the provider tells of a second factor, where it is listened to.
func factorValues(c *config.OIDC) []string {
	if c.SecondFactor != "amr" {
		return nil
	}
	return c.FactorValues
}

// identityProvider is with whom people sign in besides passwords, and what its claims give; nil where none is set up. It asks the provider nothing yet: one
// that is away keeps no server from starting.
func (s *server) identityProvider() (signin.Provider, authsvc.IdentityRules, error) {
	c := &s.cfg.OIDC
	if c.Issuer == "" {
		return nil, authsvc.IdentityRules{}, nil
	}
	rules := authsvc.IdentityRules{CompanyClaim: c.CompanyClaim != "", SignUp: c.AllowSignUp}
	for _, m := range c.Mappings {
		rules.List = append(rules.List, authsvc.IdentityRule{Value: m.Value, Role: authsvc.Role(m.Role), Company: m.Company})
	}
	if err := rules.Check(); err != nil {
		return nil, authsvc.IdentityRules{}, fmt.Errorf("[oidc] mappings: %s", event.ErrorMessage(err))
	}
	return oidc.New(oidc.Config{
		Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret.Reveal(), Scopes: c.Scopes, RoleClaim: c.RoleClaim, CompanyClaim: c.CompanyClaim,
		TrustFactors: c.SecondFactor == "trust", FactorValues: factorValues(c),
	}), rules, nil
}
