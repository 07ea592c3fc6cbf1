package main

import (
	"strings"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/authsvc/oidc"
	"gatehouse/config"
)

// TestIdentityProvider makes the provider of settings that are good and bad. None of them is asked anything: there is no such host.
func TestIdentityProvider(t *testing.T) {
	t.Parallel()
	set := func(change func(*config.Config)) *server {
		c := config.Default()
		c.OIDC.Issuer, c.OIDC.ClientID = "https://id.invalid", "gatehouse"
		c.OIDC.Mappings = []config.Mapping{{Value: "a", Role: "globaladmin"}, {Value: "b", Role: "User", Company: "Acme"}}
		change(c)
		return &server{serverOptions: serverOptions{cfg: c}}
	}
	if p, _, err := set(func(c *config.Config) { c.OIDC.Issuer = "" }).identityProvider(); p != nil || err != nil {
		t.Errorf("without an issuer: %v, %v", p, err)
	}
	p, rules, err := set(func(c *config.Config) { c.OIDC.AllowSignUp = true }).identityProvider()
	if p == nil || err != nil || !rules.SignUp || rules.CompanyClaim || len(rules.List) != 2 || rules.List[0].Role != authsvc.RoleGlobalAdmin || rules.List[1].Company != "Acme" {
		t.Errorf("%v, %+v, %v", p, rules, err)
	}
	for setting, want := range map[string]int{"ask": 0, "amr": 1, "trust": 0} {
		p, _, err := set(func(c *config.Config) { c.OIDC.SecondFactor = setting }).identityProvider()
		client, ok := p.(*oidc.Client)
		if err != nil || !ok || client.TrustFactors != (setting == "trust") || len(client.FactorValues) != want {
			t.Errorf("second_factor = %s: %+v, %v", setting, p, err)
		}
	}
	for want, change := range map[string]func(*config.Config){
		"must be one of": func(c *config.Config) { c.OIDC.Mappings[1].Role = "Boss" },
		"company_claim":  func(c *config.Config) { c.OIDC.Mappings = []config.Mapping{{Value: "a", Role: "CompanyAdmin"}} },
	} {
		if p, _, err := set(change).identityProvider(); p != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want an error with %q", p, err, want)
		}
	}
}
