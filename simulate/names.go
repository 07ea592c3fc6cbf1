package simulate

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

var firstNames = strings.Fields(`Amara Noah Priya Liam Chen Sofia Omar Emma Yuki Lucas Fatima Oliver Aisha Mateo Ingrid
	Kwame Hannah Diego Mei Tomas Leila Jonas Ravi Elena Samuel Zoe Haruto Nadia Peter Chloe Anders Bianca Viktor Grace
	Ibrahim Julia Marco Alice Sanjay Freya Daniel Carmen Pavel Ruth Tariq Maya Erik Lucia Kenji Sarah Ahmed Nora Felix
	Simone Arjun Eva Hugo Thandi Ivan Rosa`)

var lastNames = strings.Fields(`Okafor Smith Patel Murphy Wang Rossi Haddad Muller Tanaka Silva Khan Jones Nkosi Garcia
	Larsen Mensah Weber Torres Liu Novak Rahimi Berg Iyer Popescu Brown Martin Sato Petrov Taylor Dubois Nilsson Costa
	Kovac Walker Yusuf Fischer Ricci Evans Gupta Olsen Cohen Moreno Horvat Clark Aziz Shah Lindqvist Romero Mori Green
	Hassan Dahl Schmidt Laurent Rao Jensen Pereira Dlamini Volkov Vega Oconnor Baker Ito Wright Kaya Marsh Bauer Leroy
	Menon Hall Ferrari Reid Suzuki Price Demir Fox Keller Blanc Nair Lane`)

var companyFirst = strings.Fields(`Harbour Alder Northgate Bright Copper Meridian Willow Granite Sable Orchard Falcon
	Juniper Summit Cobalt Larch Beacon Tidewater Amber Slate Heron Maple Quarry Aster Ridge Birch Lantern Silver Thistle
	Anchor Prairie`)

var companySecond = strings.Fields(`Logistics Health Foods Legal Engineering Insurance Textiles Media Clinics Energy
	Schools Robotics Accounting Printing Freight Pharma Homes Travel Optics Bank`)

// guessedNames are what a password spray tries besides the company's people.
var guessedNames = strings.Fields(`admin administrator test guest backup scanner reception sales info support
	helpdesk service oracle sqladmin user1 temp printer kiosk training intern`)

// companyName makes up the name of company i; a number tells apart those
// beyond the combinations.
func companyName(seed uint64, i int) string {
	n := len(companyFirst) * len(companySecond)
	k := (i*263 + int(seed%uint64(n))) % n //nolint:gosec // below n; 263 shares no factor with 600, so no name comes twice
	name := companyFirst[k%len(companyFirst)] + " " + companySecond[k/len(companyFirst)]
	if i >= n {
		name += " " + strconv.Itoa(i/n+1)
	}
	return name
}

// userNames makes n account names in one company's own style, each once.
func userNames(r *rand.Rand, n int) []string {
	style := r.IntN(4)
	seen := make(map[string]int, n)
	out := make([]string, n)
	for i := range out {
		first, last := firstNames[r.IntN(len(firstNames))], lastNames[r.IntN(len(lastNames))]
		var name string
		switch style {
		case 0:
			name = strings.ToLower(first + "." + last)
		case 1:
			name = strings.ToLower(first[:1] + last)
		case 2:
			name = first + "." + last
		default:
			name = strings.ToLower(last + first[:2])
		}
		key := strings.ToLower(name)
		seen[key]++
		if k := seen[key]; k > 1 {
			name += strconv.Itoa(k)
			seen[strings.ToLower(name)]++
		}
		out[i] = name
	}
	return out
}
